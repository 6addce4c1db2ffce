"""The first process of a rented machine, without a head: it ends its own instance, and never just exits."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscaler.worker_command import START_COMMAND, HubAddress, WorkerBounds, worker_environment
from tests.support.clouds.ending_cloud import EndingCloud, ending_cloud
from tests.support.overlay.hosts import ROOT
from tests.waiting import wait_until

TOKEN, KEY = "join-token-of-this-test", "key-of-this-pod"


@pytest.fixture
def cloud() -> Iterator[EndingCloud]:
    """Ends whatever asks."""
    with ending_cloud() as cloud:
        yield cloud


@contextmanager
def booted(
    cloud: EndingCloud, disk: Path, hub_port: int, join_timeout_s: float = 1.0
) -> Iterator[subprocess.Popen[bytes]]:
    """The rented machine's start command in the environment that it would have, until it is killed."""
    hub = HubAddress("127.0.0.1", hub_port, "SHA256:" + "A" * 43)
    told = worker_environment("rented-1", hub, TOKEN, WorkerBounds(join_timeout_s, 3600))
    injected = {"RUNPOD_POD_ID": "pod1", "RUNPOD_API_KEY": KEY, "RUNPOD_API_BASE_URL": cloud.url}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(disk)}
    command = [sys.executable, *START_COMMAND[1:]]
    with (disk / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment | told | injected, stdout=log, stderr=log, cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(disk: Path) -> str:
    return (disk / "log").read_text()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_without_a_hub_it_asks_for_its_end_until_it_is_ended(cloud: EndingCloud, tmp_path: Path) -> None:
    cloud.answers[:] = [403, 500, 204]
    with booted(cloud, tmp_path, free_port()) as process:
        wait_until("it has asked three times", lambda: len(cloud.asked) >= 3, 120)
        assert process.poll() is None, "it exited, and the cloud would have started it again"
        assert {asked[:2] for asked in cloud.asked} == {("/v2/pods/pod1", f"Bearer {KEY}")}
    assert "no hub at 127.0.0.1" in log_of(tmp_path)
    assert "refused (403)" in log_of(tmp_path)
    assert TOKEN not in log_of(tmp_path)
    assert KEY not in log_of(tmp_path)


def test_a_second_boot_of_the_same_container_ends_at_once_and_shows_its_token_to_nobody(
    cloud: EndingCloud, tmp_path: Path
) -> None:
    with booted(cloud, tmp_path, free_port()):
        wait_until("the first boot has given up", lambda: cloud.asked, 120)
    with socket.create_server(("127.0.0.1", 0)) as hub:
        hub.settimeout(0.2)
        with booted(cloud, tmp_path, hub.getsockname()[1], join_timeout_s=600):
            wait_until("the second has given up", lambda: "boots a second time" in log_of(tmp_path), 120)
        with pytest.raises(TimeoutError):
            hub.accept()


def test_told_to_stop_while_it_joins_it_stops_at_once_and_ends_its_instance(cloud: EndingCloud, tmp_path: Path) -> None:
    with booted(cloud, tmp_path, free_port(), join_timeout_s=600) as process:
        wait_until("it has begun", lambda: (tmp_path / "rented-1.booted").exists(), 120)
        process.send_signal(signal.SIGTERM)
        wait_until("it has asked for its end", lambda: cloud.asked, 60)
        process.send_signal(signal.SIGTERM)
        wait_until("it asks again", lambda: len(cloud.asked) > 1, 60)
        assert process.poll() is None
