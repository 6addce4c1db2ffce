"""The commands of Ray's processes, as the head and workers want them."""

import logging
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants, services

from cluster.ray_patches import process_commands
from cluster.ray_patches.autoscaler_monitor import reading_when_changed
from cluster.ray_patches.registry import DASHBOARD_MODULES

RAY = Path(ray.__file__).parent
DASHBOARD = ["python", str(RAY / "dashboard/dashboard.py"), "--port=1", "--temp-dir=/tmp/ray"]
MONITOR = ["python", "-u", str(RAY / "autoscaler/v2/monitor.py"), "--gcs-address=1"]
RAYLET = ["/ray/raylet", "--num_prestart_python_workers=8", "--session_dir=/tmp/ray"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that Ray carries out; nothing is started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, *_rest, **_options: commands.append(command))
    return commands


def start(command: list[str], process_type: str) -> None:
    """As Ray's own code does."""
    services.start_ray_process(command, process_type, fate_share=False)


def test_the_dashboard_is_told_its_modules_and_keeps_its_files_in_rays_directory(started: list[list[str]]) -> None:
    process_commands.narrow_dashboard()
    start(DASHBOARD, ray_constants.PROCESS_TYPE_DASHBOARD)
    (command,) = started
    assert command[:2] == ["/usr/bin/env", "TMPDIR=/tmp/ray"]
    assert command[2:-1] == DASHBOARD
    assert command[-1] == f"--modules-to-load={','.join(DASHBOARD_MODULES)}"
    assert "--disable-frontend" not in command, "without its page the dashboard opens no port, and takes no jobs"
    assert Path(command[0]).is_file()


def test_the_autoscaler_is_started_through_ours(started: list[list[str]]) -> None:
    process_commands.run_autoscaler_through_ours()
    start(MONITOR, ray_constants.PROCESS_TYPE_MONITOR)
    assert started == [[*MONITOR[:2], "-m", "cluster.ray_patches.autoscaler_monitor", *MONITOR[2:]]]


@pytest.mark.parametrize(("at_most", "number"), [(2, 2), (9, 8)])
def test_a_node_starts_with_no_more_processes_than_it_has_use_for(
    at_most: int, number: int, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMA_PRESTARTED_WORKERS", str(at_most))
    process_commands.limit_prestarted_workers()
    start(RAYLET, ray_constants.PROCESS_TYPE_RAYLET)
    assert started == [[RAYLET[0], f"--num_prestart_python_workers={number}", RAYLET[2]]]


def test_everything_else_starts_as_ray_wants(started: list[list[str]]) -> None:
    process_commands.narrow_dashboard()
    process_commands.run_autoscaler_through_ours()
    start(["gcs_server", "--port=1"], ray_constants.PROCESS_TYPE_GCS_SERVER)
    assert started == [["gcs_server", "--port=1"]]


@pytest.mark.parametrize(
    ("process_type", "command"),
    [
        (ray_constants.PROCESS_TYPE_DASHBOARD, ["python", "dashboard.py"]),
        (ray_constants.PROCESS_TYPE_MONITOR, ["python", "/ray/autoscaler/v3/monitor.py"]),
        (ray_constants.PROCESS_TYPE_RAYLET, ["raylet", "--num_prestart_python_workers=many"]),
        (ray_constants.PROCESS_TYPE_RAYLET, ["raylet"]),
    ],
)
def test_a_command_that_is_not_understood_is_carried_out_as_it_is(
    process_type: str,
    command: list[str],
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AIMA_PRESTARTED_WORKERS", "2")
    process_commands.narrow_dashboard()
    process_commands.run_autoscaler_through_ours()
    process_commands.limit_prestarted_workers()
    with caplog.at_level(logging.WARNING):
        start(command, process_type)
    assert started == [command]
    assert f"Ray starts its {process_type} as it wants" in caplog.text


class Reader:
    """Ray's reader of the configuration, as far as it is asked."""

    def __init__(self, path: Path) -> None:
        self._config_file_path, self.reads = path, 0


def test_the_configuration_is_read_when_it_has_changed(tmp_path: Path) -> None:
    def read(reader: Any) -> None:
        reader.reads += 1

    refresh = reading_when_changed(read)
    path = tmp_path / "autoscaling.yaml"
    path.write_text("a: 1", encoding="utf-8")
    reader = Reader(path)
    counts = []
    for change in (False, False, True, False):
        if change:
            path.write_text("a: 22", encoding="utf-8")
        refresh(reader)
        counts.append(reader.reads)
    assert counts == [1, 1, 2, 2]
