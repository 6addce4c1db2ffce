"""`aima up` on a cluster that runs here already, with the real orchestrator and an API that only says that it lives."""

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
from cluster.local.processes import MARKER, processes, words
from cluster.overlay.addresses import first_free
from cluster.overlay.ports import can_bind
from tests.support.servers.http_server import served

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
        where = (address.host, address.base_port, web.url("").rstrip("/"))
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
