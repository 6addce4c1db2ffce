"""The overlay's small parts: back-off, messages, keepalive."""

import pytest

from cluster.overlay.backoff import pause_s
from cluster.overlay.control import ControlError, Enrolment, decode, decode_enrolment, encode, encode_enrolment
from cluster.overlay.ssh import keepalive


def test_pauses_double_up_to_a_bound_and_are_scattered() -> None:
    longest = [pause_s(attempt, lambda: 1.0) for attempt in range(1, 9)]
    assert longest == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0]
    assert [pause_s(attempt, lambda: 0.0) for attempt in range(1, 9)] == [pause / 2 for pause in longest]
    assert pause_s(10_000, lambda: 1.0) == 8.0


def test_an_enrolment_comes_back_as_it_was() -> None:
    enrolment = Enrolment("ssh-ed25519 AAAA", "machine")
    assert decode_enrolment(encode_enrolment(enrolment)) == enrolment
    assert decode(encode({"peers": []})) == {"peers": []}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "3",
        "[" * 100_000,
        '{"public_key": 1, "machine": "m"}',
        '{"machine": "m"}',
        '{"public_key": "%s"}' % ("k" * 600),
    ],
)
def test_what_is_no_enrolment_is_refused(line: str) -> None:
    with pytest.raises(ControlError):
        decode_enrolment(line)


@pytest.mark.parametrize(("silence_s", "interval_s"), [(90.0, 15.0), (12.0, 2.0), (600.0, 15.0)])
def test_a_link_is_asked_often_enough_and_given_up_in_time(silence_s: float, interval_s: float) -> None:
    interval, count = keepalive(silence_s)
    assert interval == interval_s
    assert interval * count == pytest.approx(silence_s, rel=0.05)
    assert interval < 60
