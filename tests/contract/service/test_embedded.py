"""`aima up` on a cluster that runs here already, with the real orchestrator and an API that only says that it lives."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local import embedded
from cluster.local.ending import StillBilled
from cluster.local.processes import MARKER, processes, words
from cluster.overlay.addresses import first_free
from cluster.overlay.ports import can_bind
from cluster.steady_clock import SteadyClock
from tests.support.clouds.left_behind import LeftBehind
from tests.support.clouds.providers import Rented, rented
from tests.support.servers.http_server import served
from tests.waiting import wait_until

CLUSTER = f"aima-test-{os.getpid()}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state").resolved()


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[ClusterCard]:
    """The card of a cluster whose API answers; its orchestrator does not run."""
    state = StateDir(settings.state_dir)
    state.prepare()
    (state.path / "settings.yaml").write_text(settings.model_dump_json())
    health = tmp_path / "web" / "v1" / "health"
    health.parent.mkdir(parents=True)
    health.write_text("{}")
    address = first_free(100, lambda a: all(can_bind("", a.base_port + i) for i in range(12)))
    with served(tmp_path / "web") as web:
        where = (address.host, address.base_port, f"http://127.0.0.1:{web.server_port}")
        card = ClusterCard(CLUSTER, *where, f"http://{address.host}:{address.orchestrator_port}", time.monotonic())
        state.write_card(card)
        try:
            yield card
        finally:
            embedded.remove(state, card)


@contextlib.contextmanager
def living_head() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is taken for the cluster's head."""
    command = [sys.executable, "-c", "import time; time.sleep(300)", "cluster.head.start"]
    with subprocess.Popen(command, env=os.environ | {MARKER: CLUSTER}) as head:
        try:
            yield head
        finally:
            head.kill()


def orchestrators() -> list[psutil.Process]:
    return [process for process in processes(CLUSTER) if words(process)[-1:] == ["cluster.orchestrator.process"]]


def test_up_starts_a_killed_orchestrator_again_and_only_that(settings: Settings, running: ClusterCard) -> None:
    for _ in range(2):
        said: list[str] = []
        assert embedded.up(settings, said.append) == running
        assert "the orchestrator" in said[0]
        (first,) = orchestrators()
        assert [process.pid for process in processes(CLUSTER)] == [first.pid], "more than the orchestrator was started"
        token = StateDir(settings.state_dir).token("fleet")
        reply = httpx.get(f"{running.orchestrator_url}/v1/fleet", headers={"Authorization": f"Bearer {token}"})
        assert reply.json()["instances"] == []
        assert embedded.up(settings, said.append) == running
        assert [process.pid for process in orchestrators()] == [first.pid]
        first.send_signal(signal.SIGKILL)
        psutil.wait_procs([first], timeout=10)


def test_up_waits_for_an_api_that_comes_back_instead_of_ending_its_head(
    settings: Settings, running: ClusterCard, tmp_path: Path
) -> None:
    health, away = tmp_path / "web" / "v1" / "health", tmp_path / "away"
    health.rename(away)
    with living_head() as head:
        comes_back = threading.Timer(1.0, away.rename, (health,))
        comes_back.start()
        assert embedded.up(settings) == running
        comes_back.join()
        assert head.poll() is None
        assert len(orchestrators()) == 1


@pytest.fixture
def left(settings: Settings, running: ClusterCard, tmp_path: Path) -> LeftBehind:
    """The same cluster: its ledger knows machines at a cloud that the settings do not name (any more)."""
    assert settings.state_dir == tmp_path / "state"
    return LeftBehind(tmp_path, running.cluster_id)


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        yield cloud


def running_since() -> float:
    """A minute ago, in unix seconds: later than any list lags."""
    return SteadyClock()() - 60


def test_machines_at_a_cloud_that_the_settings_no_longer_name_are_looked_after(
    settings: Settings, left: LeftBehind, runpod: Rented
) -> None:
    name = left.open_at(runpod)
    embedded.up(settings, environment=os.environ | left.environment)
    wait_until("the machine has ended", lambda: not runpod.account.alive())
    wait_until("its bill is closed", lambda: left.entries() == {name: "ended"})
    assert embedded.down(left.state, access=left.access) == embedded.Ended(("runpod",))


def test_down_ends_what_a_killed_orchestrator_has_left(settings: Settings, left: LeftBehind, runpod: Rented) -> None:
    embedded.up(settings, environment=os.environ | left.environment)
    (orchestrator,) = orchestrators()
    orchestrator.send_signal(signal.SIGKILL)
    psutil.wait_procs([orchestrator], timeout=10)
    name = left.open_at(runpod)
    assert embedded.down(left.state, access=left.access) == embedded.Ended(("runpod",))
    assert left.entries() == {name: "ended"}
    assert list(processes(CLUSTER)) == []
    assert not runpod.account.alive()


def test_a_cloud_whose_key_is_gone_is_shown_and_hangs_no_drain(
    settings: Settings, left: LeftBehind, runpod: Rented
) -> None:
    name = left.open_at(runpod, with_key=False, bought_at=running_since())
    card = embedded.up(settings, environment=os.environ)
    headers = {"Authorization": f"Bearer {left.state.token('nodes')}"}
    with httpx.Client(base_url=card.orchestrator_url, headers=headers, timeout=30) as orchestrator:

        def degraded() -> str:
            return str(orchestrator.get("/v1/fleet").json()["degraded"].get("runpod", ""))

        said = wait_until("it is shown", degraded)
        assert "STOPPED" in said
        assert "RunPod needs an API key" in said
        assert name in said
        reply = orchestrator.post("/v1/drain")
        assert (reply.status_code, reply.json()["proved"]) == (200, ["local"])
    with pytest.raises(StillBilled, match=name):
        embedded.down(left.state, access=left.access)
    left.give_key(runpod)
    assert embedded.down(left.state, access=left.access) == embedded.Ended(("runpod",))
    assert not runpod.account.alive()
