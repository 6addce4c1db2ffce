"""When a client sends a call again, and how it reads a stream that breaks."""

import httpx
import pytest

from cluster.client.events import EventReader
from cluster.client.retrying import wait_before_retry


@pytest.mark.parametrize(
    ("status", "attempt", "elapsed_s", "repeatable", "wait_s"),
    [
        (200, 1, 0, True, None),
        (422, 1, 0, True, None),
        (503, 1, 0, True, 0.25),
        (503, 3, 0, True, 1.0),
        (500, 30, 10, True, 5.0),
        (500, 1, 60, True, None),
        (None, 2, 0, True, 0.5),
        (None, 1, 0, False, None),
        (500, 1, 0, False, None),
        (429, 1, 0, False, 0.25),
    ],
)
def test_what_is_sent_again(
    status: int | None, attempt: int, elapsed_s: float, repeatable: bool, wait_s: float | None
) -> None:
    reply = None if status is None else httpx.Response(status)
    assert wait_before_retry(reply, attempt, elapsed_s, repeatable) == wait_s


def test_the_servers_wish_is_heard() -> None:
    assert wait_before_retry(httpx.Response(429, headers={"Retry-After": "7"}), 1, 0) == 7
    assert wait_before_retry(httpx.Response(429, headers={"Retry-After": "61"}), 1, 0) is None


def test_half_an_event_is_forgotten_when_the_connection_breaks() -> None:
    reader = EventReader()
    assert [reader.feed(line) for line in ("id: 7", "data: {", 'data: "kind": "queued"}', "")][-1] == {"kind": "queued"}
    assert reader.feed(": still here") is None
    assert reader.feed("id: 8") is None
    reader.cut()
    assert reader.feed("") is None
    assert reader.last_event_id == 7
