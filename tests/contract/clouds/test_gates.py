"""No pause that a cloud asks for keeps a machine from its end; and how people write the addresses of its API."""

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime, formatdate, parsedate_to_datetime
from pathlib import Path

import pytest

from autoscaler.clouds.registry import api_root
from autoscaler.errors import CloudError, ListingFailed, RateLimited
from cluster.worker.self_termination import detect
from tests.support.clouds.kubernetes import in_cluster
from tests.support.clouds.providers import NODE_TYPE, RENTED, Rented, rented

_REFUSES = {"runpod": ("F25-offers", "F25-end"), "vastai": ("V7-search", "V7-end")}


@pytest.fixture(params=RENTED)
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented(request.param, tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        yield cloud


def refused_s(cloud: Rented, instance_id: str) -> float:
    """For how long an end is refused."""
    with pytest.raises(RateLimited) as caught:
        cloud.terminate(instance_id)
    return caught.value.retry_after_s


def test_f25_v07_a_catalogue_that_wants_to_be_left_alone_delays_no_end(cloud: Rented) -> None:
    created = cloud.create(cloud.name())
    cloud.fail(_REFUSES[cloud.provider.name][0])
    with pytest.raises(RateLimited) as caught:
        cloud.run(cloud.provider.list_offers(NODE_TYPE))
    assert caught.value.retry_after_s == 7200
    began = cloud.clock.now
    assert [instance.name for instance in cloud.list()] == [created.name]
    cloud.terminate(created.instance_id)
    assert cloud.clock.now - began < 2
    assert cloud.account.alive() == []


def test_f25_of_a_days_last_calls_ends_get_those_kept_for_them(runpod: Rented) -> None:
    created = [runpod.create(runpod.name(number)) for number in (1, 2, 3)]
    runpod.fail("F25-day")
    runpod.list()
    for call in (runpod.list, lambda: runpod.create(runpod.name(4))):
        with pytest.raises((RateLimited, ListingFailed)):
            call()
    began = runpod.clock.now
    for instance in created:
        runpod.terminate(instance.instance_id)
    assert runpod.clock.now == began
    assert runpod.account.alive() == []


def test_f25_v07_a_refused_end_is_asked_for_again_within_half_a_minute(cloud: Rented) -> None:
    created = cloud.create(cloud.name())
    cloud.fail(_REFUSES[cloud.provider.name][1])
    for asked in (1, 2):
        assert refused_s(cloud, created.instance_id) == 30.0
        assert refused_s(cloud, created.instance_id) == 30.0, "no second call within the pause"
        assert cloud.calls("terminate") == asked
        assert [instance.name for instance in cloud.list()] == [created.name]
        cloud.clock.now += 30.0
    cloud.terminate(created.instance_id)
    assert cloud.account.alive() == []


@pytest.mark.parametrize(
    ("value", "waits_s"),
    [
        ("30", 30),
        ("a date in 300 s", 300),
        ("a date in -300 s", 1),
        ("soon", 5),
        ("-7200", 5),
        ("", 5),
        ("99999999999", 86_400),
    ],
)
def test_f25_kubernetes_may_say_anything_in_retry_after(tmp_path: Path, value: str, waits_s: float) -> None:
    with asyncio.Runner() as runner, in_cluster(tmp_path, runner) as cloud:
        created = cloud.create(cloud.name())
        if seconds := re.fullmatch(r"a date in (.*) s", value):  # the server's own date goes with every answer
            now = parsedate_to_datetime(formatdate(usegmt=True))
            value = format_datetime(now + timedelta(seconds=float(seconds[1])), usegmt=True)
        cloud.server.headers = {"Retry-After": value}
        cloud.server.answers["GET ray cluster"] = [(429, '{"message": "too many requests"}')]
        with pytest.raises(ListingFailed) as listing:
            cloud.list()
        assert isinstance(listing.value.__cause__, RateLimited)
        assert listing.value.__cause__.retry_after_s == pytest.approx(waits_s, abs=3 if waits_s == 300 else 0)
        cloud.server.answers["GET pods"] = [(429, '{"message": "too many requests"}')]
        with pytest.raises(RateLimited) as ending:
            cloud.terminate(created.instance_id)
        assert ending.value.retry_after_s == min(waits_s, 30.0)
        cloud.terminate(created.instance_id)
        assert cloud.group["replicas"] == 0


@pytest.mark.parametrize("ending", ["", "/", "//", "/v2", "/v2/", "/v2//", " "])
def test_runpods_address_may_be_written_with_or_without_its_version(runpod: Rented, ending: str) -> None:
    assert api_root("runpod", f"https://api.runpod.io{ending}") == "https://api.runpod.io"
    own = detect({"RUNPOD_POD_ID": "p1", "RUNPOD_API_BASE_URL": f"{runpod.url}{ending}"})
    assert own is not None
    assert own.url == f"{runpod.url}/v2/pods/p1"


@pytest.mark.parametrize("ending", ["", "/", "/api", "/api/", "/api//", "/api/v0", "/api/v1/", "/v0/"])
def test_vasts_address_may_be_written_with_or_without_api(ending: str) -> None:
    assert api_root("vastai", f"https://console.vast.ai{ending}") == "https://console.vast.ai/api"
    own = detect({"CONTAINER_ID": "7", "VAST_API_BASE_URL": f"https://console.vast.ai{ending}"})
    assert own is not None
    assert own.url == "https://console.vast.ai/api/v0/instances/7/"


def test_an_address_that_is_none_is_refused_but_keeps_no_machine_alive() -> None:
    for given in ("api.runpod.io", "ftp://api.runpod.io", "https://", "https://a b", "http://host?key=1"):
        with pytest.raises(CloudError, match=r"write a URL such as https://api\.runpod\.io"):
            api_root("runpod", given)
    assert api_root("runpod", "") == api_root("runpod", "  ") == "https://api.runpod.io"
    own = detect({"RUNPOD_POD_ID": "p1", "RUNPOD_API_BASE_URL": "nonsense"})
    assert own is not None
    assert own.url == "https://api.runpod.io/v2/pods/p1"
