"""What every cloud has to do, and what only the local one does."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from autoscaler.errors import NoCapacity
from autoscaler.provider import CloudProvider
from autoscaler.providers import fake, local
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType
from tests.waiting import wait_until

WORKER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""
NODE_TYPE = NodeType("gpu", {"GPU": 1}, max_count=4, clouds=("any",))


@dataclass
class Cloud:
    """A provider, seen without asyncio."""

    provider: CloudProvider

    def create(self, name: str) -> Instance:
        (offer,) = asyncio.run(self.provider.list_offers(NODE_TYPE))
        request = LaunchRequest(name, NODE_TYPE, offer, {"GREETING": "hello"}, 3600.0)
        return asyncio.run(self.provider.create_instance(request))

    def listed(self, name: str) -> Instance | None:
        return next((i for i in asyncio.run(self.provider.list_instances()) if i.name == name), None)

    def found(self, name: str) -> Instance:
        """Waits until it is listed."""
        wait_until(f"{name} is listed", lambda: self.listed(name) is not None)
        instance = self.listed(name)
        assert instance is not None
        return instance

    def terminate(self, instance_id: str) -> None:
        asyncio.run(self.provider.terminate_instance(instance_id))

    def end(self, instance: Instance) -> None:
        """Ask until it is gone, as the reconciler does."""

        def gone() -> bool:
            self.terminate(instance.instance_id)
            return self.listed(instance.name) is None

        wait_until(f"{instance.name} is gone", gone)


Local = Callable[[str], Cloud]


def unique(name: str) -> str:
    return f"contract-{os.getpid()}-{name}"


@pytest.fixture
def local_cloud(tmp_path: Path) -> Iterator[Local]:
    """Makes local clouds by cluster id; all they started is ended afterwards."""
    made: list[Cloud] = []

    def make(cluster_id: str) -> Cloud:
        provider = local.Provider(
            unique(cluster_id),
            lambda request: [sys.executable if request.name != "no-such-program" else "/no/such", "-c", WORKER],
            tmp_path,
            environment={"PATH": os.environ["PATH"]},
            stop_grace_s=0.3,
        )
        made.append(Cloud(provider))
        return made[-1]

    yield make
    for cloud in made:
        for instance in asyncio.run(cloud.provider.list_instances()):
            cloud.end(instance)
    for cloud in made:  # the exit codes are taken by whoever started them
        asyncio.run(cloud.provider.list_instances())


@pytest.fixture(params=["fake", "local"])
def cloud(request: pytest.FixtureRequest, local_cloud: Local) -> Cloud:
    if request.param == "local":
        return local_cloud("own")
    return Cloud(fake.Provider(clock=lambda: 1000.0))


def processes_of(name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("AIMA_INSTANCE") == name:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_what_is_created_is_listed_under_its_name(cloud: Cloud) -> None:
    created = cloud.create(unique("a"))
    listed = cloud.found(unique("a"))
    assert created.name == listed.name == unique("a")
    assert created.instance_id == listed.instance_id
    assert created.cloud == listed.cloud == cloud.provider.name
    assert created.created_at == pytest.approx(listed.created_at)
    assert listed.status in (InstanceStatus.PENDING, InstanceStatus.RUNNING)


def test_terminate_may_be_repeated_and_ends_in_absence(cloud: Cloud) -> None:
    created = cloud.create(unique("a"))
    cloud.terminate(created.instance_id)
    cloud.terminate(created.instance_id)
    cloud.end(created)
    cloud.terminate(created.instance_id)
    assert cloud.listed(created.name) is None


def test_terminating_the_unknown_is_harmless(cloud: Cloud) -> None:
    created = cloud.create(unique("a"))
    cloud.terminate("nobody")
    assert cloud.listed(created.name) is not None


def test_terminating_one_leaves_the_other(cloud: Cloud) -> None:
    first, second = cloud.create(unique("a")), cloud.create(unique("b"))
    cloud.end(first)
    assert cloud.listed(second.name) is not None


def test_only_the_own_cluster_is_listed(local_cloud: Local) -> None:
    own, other = local_cloud("own"), local_cloud("other")
    created = own.create(unique("a"))
    own.found(created.name)
    assert asyncio.run(other.provider.list_instances()) == []
    other.terminate(created.instance_id)
    other.terminate(created.instance_id)
    listed = own.listed(created.name)
    assert listed is not None
    assert listed.status is InstanceStatus.RUNNING


def test_a_killed_first_process_with_a_surviving_child_is_a_failure(local_cloud: Local) -> None:
    cloud = local_cloud("own")
    created = cloud.create(unique("a"))
    wait_until("the child runs", lambda: len(processes_of(created.name)) == 2)
    first = min(processes_of(created.name), key=lambda process: process.create_time())
    first.send_signal(signal.SIGKILL)

    def failed() -> bool:
        listed = cloud.listed(created.name)
        return listed is not None and listed.status is InstanceStatus.FAILED

    wait_until("listed as failed", failed)
    cloud.end(created)
    assert processes_of(created.name) == []


def test_what_is_not_given_is_not_inherited(local_cloud: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    created = local_cloud("own").create(unique("a"))
    wait_until("the child runs", lambda: len(processes_of(created.name)) == 2)
    for process in processes_of(created.name):
        assert set(process.environ()) >= {"PATH", "GREETING", "AIMA_INSTANCE"}
        assert "RUNPOD_API_KEY" not in process.environ()


def test_a_command_that_cannot_be_started_is_no_capacity(local_cloud: Local) -> None:
    with pytest.raises(NoCapacity, match="/no/such"):
        local_cloud("own").create("no-such-program")


def test_after_a_restart_an_orphan_that_hides_its_mark_is_found(local_cloud: Local) -> None:
    """As Ray's agents do: the parent dies, the environment is overwritten, the provider starts anew."""
    created = local_cloud("own").create(unique("a"))
    wait_until("the child runs", lambda: len(processes_of(created.name)) == 2)
    again = local_cloud("own")
    again.provider._mark = lambda _process: None  # type: ignore[attr-defined]
    listed = again.found(created.name)
    assert listed.status is InstanceStatus.RUNNING
    again.end(listed)


def test_after_a_restart_the_instance_is_found_and_can_be_ended(local_cloud: Local) -> None:
    created = local_cloud("own").create(unique("a"))
    again = local_cloud("own")
    listed = again.found(created.name)
    assert listed.status is InstanceStatus.RUNNING
    assert listed.created_at == pytest.approx(created.created_at)
    again.end(listed)
    assert processes_of(created.name) == []
