"""The HTTP client against a real server: what is repeated, what never is, and that no secret is told."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from autoscaler.clouds.http import Rest
from autoscaler.errors import CloudError, KeyRefused, NoCapacity, OutcomeUnknown, RateLimited
from autoscaler.fakes.failures import html, problem
from autoscaler.fakes.faults import Answer, Call, Fault
from autoscaler.fakes.serving import KEY
from tests.support.clouds.providers import Clock, Rented, rented

SECRET = 'rpa_/Top+Secret"&=0123456789'
BODY = {"name": "a", "image": "b", "gpu": {"id": "NVIDIA L4", "count": 1}}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture
def rest(cloud: Rented) -> Iterator[Rest]:
    rest = Rest("runpod", cloud.url, KEY, cloud.clock, cloud.clock.sleep)
    yield rest
    cloud.run(rest.close())


def answer(cloud: Rented, on: Call, reply: Answer, times: int = 1, done: bool = False) -> None:
    cloud.account.faults.add(Fault(on=on, answer=reply, times=times, done=done))


def test_reads_are_repeated_a_few_times(cloud: Rented, rest: Rest) -> None:
    answer(cloud, "list", problem(500, "Something went wrong"), times=2)
    assert cloud.run(rest.get("/v2/pods")).fields() == {
        "pods": [],
        "pagination": {"nextCursor": None, "hasNextPage": False},
    }
    assert cloud.calls("list") == 3
    answer(cloud, "list", html(502), times=10)
    with pytest.raises(CloudError, match="502"):
        cloud.run(rest.get("/v2/pods"))
    assert cloud.calls("list") == 6


def test_terminations_are_repeated_a_few_times(cloud: Rented, rest: Rest) -> None:
    cloud.run(rest.purchase("POST", "/v2/pods", BODY))
    (machine,) = cloud.account.alive()
    answer(cloud, "terminate", html(503), times=2)
    assert cloud.run(rest.delete(f"/v2/pods/{machine.machine_id}")).status == 204
    assert cloud.calls("terminate") == 3


@pytest.mark.parametrize("status", [200, 302, 404, 408, 500, 502, 503, 504])
def test_a_purchase_with_an_unclear_answer_is_not_repeated(cloud: Rented, rest: Rest, status: int) -> None:
    answer(cloud, "create", html(status), times=10)
    if status == 200:
        assert cloud.run(rest.purchase("POST", "/v2/pods", BODY)).fields() == {}
    else:
        with pytest.raises(OutcomeUnknown):
            cloud.run(rest.purchase("POST", "/v2/pods", BODY))
    assert cloud.calls("create") == 1


@pytest.mark.parametrize("fault", [Fault(on="create", cut=True, done=True), Fault(on="create", hang_s=30, done=True)])
def test_a_purchase_without_an_answer_is_not_repeated(cloud: Rented, fault: Fault) -> None:
    hasty = Rest("runpod", cloud.url, KEY, cloud.clock, cloud.clock.sleep, timeout=httpx.Timeout(0.5))
    cloud.account.faults.add(fault)
    with pytest.raises(OutcomeUnknown):
        cloud.run(hasty.purchase("POST", "/v2/pods", BODY))
    cloud.run(hasty.close())
    assert cloud.calls("create") == len(cloud.account.alive()) == 1


def test_what_could_not_be_sent_was_not_bought(cloud: Rented) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = Rest("runpod", f"http://127.0.0.1:{closed.getsockname()[1]}", KEY, cloud.clock, cloud.clock.sleep)
        with pytest.raises(NoCapacity, match="nothing was sent"):
            cloud.run(nobody.purchase("POST", "/v2/pods", BODY))
        with pytest.raises(CloudError, match="did not answer"):
            cloud.run(nobody.get("/v2/pods"))
        cloud.run(nobody.close())


def test_a_refusal_for_haste_bought_nothing_and_is_followed_by_one_more_try(cloud: Rented, rest: Rest) -> None:
    answer(cloud, "create", problem(429, "rate limit exceeded", **{"Retry-After": "3"}))
    assert cloud.run(rest.purchase("POST", "/v2/pods", BODY)).status == 201
    assert cloud.clock.slept_s == [3.0]
    assert (cloud.calls("create"), len(cloud.account.alive())) == (2, 1)


def test_a_long_pause_is_an_error_and_no_call_is_made_until_it_is_over(cloud: Rented, rest: Rest) -> None:
    answer(cloud, "list", problem(429, "rate limit exceeded", **{"Retry-After": "600"}))
    for _ in range(5):
        with pytest.raises(RateLimited) as caught:
            cloud.run(rest.get("/v2/pods"))
        assert caught.value.retry_after_s == 600.0
    assert cloud.calls("list") == 1
    cloud.clock.now += 600.0
    assert cloud.run(rest.get("/v2/pods")).ok


def test_published_rate_limits_are_never_hit(cloud: Rented, rest: Rest) -> None:
    """Three minutes of nothing but reads, against a server that counts."""
    cloud.account.behave({"rate_limits": True})
    end = cloud.clock.now + 180.0
    while cloud.clock.now < end:
        assert cloud.run(rest.get("/v2/pods")).ok
    assert 60 < cloud.calls("list") <= 180


@pytest.mark.parametrize(
    "reply",
    [
        problem(400, f"your key {SECRET} is odd"),
        Answer(status=401, body=f"{'x' * 280}{SECRET}"),
        Answer(status=403, body=f"Bearer {SECRET}", content_type="text/plain"),
        Answer(status=302, headers={"Location": f"http://127.0.0.1/?key={SECRET}"}, body=f"moved to ?key={SECRET}"),
    ],
)
def test_no_message_and_no_log_tells_the_key(cloud: Rented, reply: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cloud.account.key = SECRET
    rest = Rest("runpod", cloud.url, SECRET, cloud.clock, cloud.clock.sleep)
    answer(cloud, "list", reply)
    with pytest.raises(CloudError) as caught:
        cloud.run(rest.get("/v2/pods"))
    cloud.run(rest.close())
    told = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert "/v2/pods" in told
    for part in (SECRET, SECRET[:12], SECRET[-12:]):
        assert part not in told


@pytest.mark.parametrize("key", ["", "two words", "broken\nkey", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(KeyRefused) as caught:
        Rest("runpod", "http://127.0.0.1", key, Clock())
    assert not key or key not in str(caught.value)


def test_blanks_around_a_key_are_forgiven(cloud: Rented) -> None:
    rest = Rest("runpod", cloud.url, f"{KEY}\n", cloud.clock, cloud.clock.sleep)
    assert cloud.run(rest.get("/v2/pods")).ok
    cloud.run(rest.close())
