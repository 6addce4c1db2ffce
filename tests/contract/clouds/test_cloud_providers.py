"""What every cloud has to do, and what only the local one does."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from autoscaler.clouds import fake, local
from autoscaler.errors import NoCapacity
from autoscaler.types import Instance, InstanceStatus, LaunchRequest
from cluster.local.processes import environment, lives
from tests.support.clouds.kubernetes import in_cluster
from tests.support.clouds.providers import NODE_TYPE, RENTED, Cloud, rented
from tests.support.clouds.specs import Conversation, Exchange, require_spec, spec_is_here
from tests.waiting import wait_until

WORKER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""


def found(cloud: Cloud, name: str) -> Instance:
    """Waits until it is listed."""
    return wait_until(f"{name} is listed", lambda: cloud.listed(name))  # type: ignore[return-value]


def end(cloud: Cloud, instance: Instance) -> None:
    """Ask until it is gone, as the reconciler does."""

    def gone() -> bool:
        cloud.terminate(instance.instance_id)
        return cloud.listed(instance.name) is None

    wait_until(f"{instance.name} is gone", gone)


Local = Callable[[str], Cloud]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def local_cloud(tmp_path: Path, runner: asyncio.Runner) -> Iterator[Local]:
    """Makes local clouds by cluster id; all they started is ended afterwards."""
    made: list[Cloud] = []

    def command(request: LaunchRequest) -> list[str]:
        return [sys.executable if request.image != "no-such-program" else "/no/such", "-c", WORKER]

    def make(cluster_id: str) -> Cloud:
        unique = f"contract-{os.getpid()}-{cluster_id}"
        provider = local.Provider(unique, command, tmp_path, environment={"PATH": os.environ["PATH"]}, stop_grace_s=0.3)
        made.append(Cloud(provider, runner, unique))
        return made[-1]

    yield make
    for cloud in made:
        for instance in cloud.list():
            end(cloud, instance)
    for cloud in made:  # the exit codes are taken by whoever started them
        cloud.list()


@pytest.fixture(params=["fake", "local", "kubernetes", *RENTED])
def cloud(
    request: pytest.FixtureRequest, local_cloud: Local, runner: asyncio.Runner, tmp_path: Path
) -> Iterator[Cloud]:
    if request.param == "local":
        yield local_cloud("own")
    elif request.param == "fake":
        yield Cloud(fake.Provider(clock=lambda: 1000.0), runner)
    elif request.param == "kubernetes":
        with in_cluster(tmp_path, runner, operator_lag_s=0.0, end_s=0.0) as cluster:
            yield cluster
    else:
        with rented(request.param, tmp_path, runner) as cloud:
            yield cloud
            if spec_is_here(request.param):
                assert cloud.conversation.violations() == []


@pytest.mark.parametrize("name", RENTED)
def test_all_that_is_said_keeps_to_what_the_cloud_publishes(name: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    require_spec(name)
    with rented(name, tmp_path, runner, provision_s=5.0, start_s=5.0, page_size=2) as cloud:
        need = replace(NODE_TYPE, min_cuda="12.8", regions=("EU",), gpu_memory_gib=24, disk_gib=40)
        created = [cloud.create(cloud.name(number), need) for number in range(5)]
        for _ in range(3):
            assert len(cloud.list()) == 5
            cloud.clock.now += 5.0
        cloud.run(cloud.provider.log_excerpt(created[0].instance_id))
        for instance in (*created, created[0]):
            cloud.terminate(instance.instance_id)
        assert cloud.list() == []
        assert len(cloud.conversation.exchanges) >= 20
        assert cloud.conversation.violations() == []


def test_a_request_or_reply_that_is_not_as_published_is_noticed() -> None:
    require_spec("runpod")
    body = b'{"name": "a", "image": "b", "gpu": {"id": "c", "count": 1}, "spot": true}'
    said = Exchange("POST", "/v2/pods", "page=1", body, 201, "application/json", b'{"id": 7}', injected=False)
    violations = " ".join(Conversation("runpod", [said]).violations())
    for part in ("query page", "'spot' was unexpected", "7 is not of type 'string'"):
        assert part in violations


def processes_of(name: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if lives(p) and environment(p).get("AIMA_INSTANCE") == name]


def test_what_is_created_is_listed_under_its_name(cloud: Cloud) -> None:
    created = cloud.create(cloud.name())
    listed = found(cloud, created.name)
    assert created.name == listed.name == cloud.name()
    assert created.instance_id == listed.instance_id
    assert created.cloud == listed.cloud == cloud.provider.name
    assert listed.created_at is not None
    if created.created_at is not None:  # not every cloud's answer to a purchase tells it
        assert created.created_at == pytest.approx(listed.created_at)
    assert listed.status in (InstanceStatus.PENDING, InstanceStatus.RUNNING)


def test_terminate_may_be_repeated_and_ends_in_absence(cloud: Cloud) -> None:
    created = cloud.create(cloud.name())
    cloud.terminate(created.instance_id)
    cloud.terminate(created.instance_id)
    end(cloud, created)
    cloud.terminate(created.instance_id)
    assert cloud.listed(created.name) is None


def test_what_is_asked_for_is_sold(cloud: Cloud) -> None:
    offers = cloud.run(cloud.provider.list_offers(NODE_TYPE))
    assert offers
    assert {offer.cloud for offer in offers} == {cloud.provider.name}
    assert len({offer.offer_id for offer in offers}) == len(offers)


def test_a_second_look_by_id_tells_what_exists(cloud: Cloud) -> None:
    created = cloud.create(cloud.name())
    found(cloud, created.name)
    assert cloud.run(cloud.provider.instance_exists(created.instance_id))
    assert not cloud.run(cloud.provider.instance_exists("12345"))
    end(cloud, created)
    assert not cloud.run(cloud.provider.instance_exists(created.instance_id))
    assert cloud.provider.skipped_rows() == []


def test_terminating_the_unknown_is_harmless(cloud: Cloud) -> None:
    created = cloud.create(cloud.name())
    cloud.terminate("nobody")
    assert cloud.listed(created.name) is not None


def test_terminating_one_leaves_the_other(cloud: Cloud) -> None:
    first, second = cloud.create(cloud.name(1)), cloud.create(cloud.name(2))
    end(cloud, first)
    assert cloud.listed(second.name) is not None


def test_only_the_own_cluster_is_listed(local_cloud: Local) -> None:
    own, other = local_cloud("own"), local_cloud("other")
    created = own.create(own.name())
    found(own, created.name)
    assert other.list() == []
    other.terminate(created.instance_id)
    other.terminate(created.instance_id)
    listed = own.listed(created.name)
    assert listed is not None
    assert listed.status is InstanceStatus.RUNNING


def test_a_killed_first_process_with_a_surviving_child_is_a_failure(local_cloud: Local) -> None:
    cloud = local_cloud("own")
    created = cloud.create(cloud.name())
    wait_until("the child runs", lambda: len(processes_of(created.name)) == 2)
    first = min(processes_of(created.name), key=lambda process: process.create_time())
    first.send_signal(signal.SIGKILL)

    def failed() -> bool:
        listed = cloud.listed(created.name)
        return listed is not None and listed.status is InstanceStatus.FAILED

    wait_until("listed as failed", failed)
    end(cloud, created)
    assert processes_of(created.name) == []


def test_what_is_not_given_is_not_inherited(local_cloud: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    cloud = local_cloud("own")
    created = cloud.create(cloud.name())
    wait_until("the child runs", lambda: len(processes_of(created.name)) == 2)
    for process in processes_of(created.name):
        assert set(process.environ()) >= {"PATH", "GREETING", "AIMA_INSTANCE"}
        assert "RUNPOD_API_KEY" not in process.environ()


def test_a_command_that_cannot_be_started_is_no_capacity(local_cloud: Local) -> None:
    cloud = local_cloud("own")
    with pytest.raises(NoCapacity, match="/no/such"):
        cloud.run(cloud.provider.create_instance(cloud.request(cloud.name(), image="no-such-program")))


def test_after_a_restart_an_orphan_that_hides_its_mark_is_found(local_cloud: Local) -> None:
    """As Ray's agents do: the parent dies, the environment is overwritten, the provider starts anew."""
    cloud = local_cloud("own")
    created = cloud.create(cloud.name())
    wait_until("the child runs", lambda: len(processes_of(created.name)) == 2)
    again = local_cloud("own")
    again.provider._mark = lambda _process: None  # type: ignore[attr-defined]
    listed = found(again, created.name)
    assert listed.status is InstanceStatus.RUNNING
    end(again, listed)


def test_after_a_restart_the_instance_is_found_and_can_be_ended(local_cloud: Local) -> None:
    cloud = local_cloud("own")
    created = cloud.create(cloud.name())
    again = local_cloud("own")
    listed = found(again, created.name)
    assert listed.status is InstanceStatus.RUNNING
    assert listed.created_at == pytest.approx(created.created_at)
    end(again, listed)
    assert processes_of(created.name) == []


@pytest.mark.parametrize("step_s", [-300.0, 1.0, 300.0])
def test_a_restart_after_the_machines_clock_was_set_takes_no_instance_for_a_failed_one(
    local_cloud: Local, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """The kernel counts a process's start from boot, and says by the clock when that was."""
    cloud = local_cloud("own")
    created = cloud.create(cloud.name())
    booted = psutil.boot_time()
    with monkeypatch.context() as patch:
        patch.setattr("psutil._pslinux.boot_time", lambda: booted + step_s)
        psutil.process_iter.cache_clear()
        again = local_cloud("own")
        listed = found(again, created.name)
        assert listed.status is InstanceStatus.RUNNING
        assert listed.created_at == pytest.approx((created.created_at or 0.0) + step_s)
        end(again, listed)
    psutil.process_iter.cache_clear()
    assert processes_of(created.name) == []
