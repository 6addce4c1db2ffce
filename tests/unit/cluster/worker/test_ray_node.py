"""How workers start their nodes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_patches.decision import APPLIED
from cluster.ray_patches.preloaded_worker import rest_s
from cluster.ray_patches.registry import PATCH_NAMES, PATCHES
from cluster.worker import ray_node
from cluster.worker.ray_node import StartLock
from tests.unit.cluster.ray_patches.moved_ray import MovedRay


def test_only_one_node_of_a_machine_starts_at_a_time() -> None:
    first, second, third = StartLock(), StartLock(), StartLock()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert not third.acquire()
    second.release()
    third.release()


def start(monkeypatch: pytest.MonkeyPatch, gpus: int, ray: dict[str, Any]) -> dict[str, Any]:
    """Start a node; its environment, and its command under "command"."""
    started: dict[str, Any] = {}
    monkeypatch.setattr(subprocess, "Popen", lambda command, env: started.update(env, command=command))
    flags = ["--num-cpus=4", f"--num-gpus={gpus}", "--address=127.77.0.1:1"]
    grant = {"ray_start_flags": flags, "ray_token": "t", "node_type": "n", "drain_s": 1, "grace_s": 9, "ray": ray}
    ray_node.start("one", grant)
    assert started["command"][:2] == [sys.executable, "-m"]
    assert started["command"][3] == "start"
    assert started["command"][-3:] == flags
    return started


@pytest.mark.parametrize("gpus", [2, 0])
def test_nodes_with_a_gpu_start_with_processes_that_import_what_models_need(
    gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(monkeypatch, gpus, {"patches": "auto", "without_patches": []})
    (warm,) = [patch for patch in PATCHES if patch.name == "warm_workers"]
    told = {name: value.format(prestarted_workers=3) for name, value in warm.variables.items()}
    assert {name: value for name, value in started.items() if name in told} == (told if gpus else {})
    assert started["command"][2] == ("cluster.ray_patches.ray_start" if gpus else "ray.scripts.scripts")
    assert started["RAY_USAGE_STATS_ENABLED"] == "0", "Ray Data would start a process that tells of each job"


@pytest.mark.parametrize("gpus", [1, 0])
def test_the_clusters_choice_of_stock_ray_reaches_workers(
    gpus: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = start(monkeypatch, gpus, {"patches": "off", "without_patches": []})
    assert started["command"][2] == "ray.scripts.scripts"
    assert not {name for patch in PATCHES for name in patch.variables} & started.keys()
    assert not set(PATCH_NAMES) & set(started[APPLIED].split(","))
    assert "Ray patch log_monitor_interval: ray.patches: off" in capsys.readouterr().err


def test_a_patch_that_does_not_fit_the_workers_own_ray_is_left_out_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = MovedRay(tmp_path)
    moved.replace("_private/log_monitor.py", "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "RAY_RENAMED")
    monkeypatch.setattr("cluster.ray_patches.decision.installed", lambda _builds: moved.source())
    started = start(monkeypatch, 1, {"patches": "auto", "without_patches": ["data_actors"]})
    assert "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD" not in started
    assert "AIMA_AROUND_DATASETS" not in started
    assert "warm_workers" in started[APPLIED].split(",")


def test_warming_up_imports_what_models_need_until_there_is_work_and_touches_no_gpu() -> None:
    code = (
        "import sys, cluster.ray_patches.preloaded_worker as warm\n"
        "from ray._raylet import setproctitle\n"
        "setproctitle('ray::MapWorker')\n"
        "warm.warm_up(0.0).join()\n"
        "print('torch' in sys.modules)\n"
        "setproctitle('ray::IDLE')\n"
        "warm.warm_up(0.0).join()\n"
        "print(sorted(set(warm.MODULES) - set(sys.modules)), sys.modules['torch'].cuda.is_initialized())\n"
        "warm.MODULES = ('no_such_module', 'xml.dom')\n"
        "warm.warm_up(0.0).join()\n"
        "print('xml.dom' in sys.modules)\n"
    )
    pytest.importorskip("torch")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.splitlines() == ["False", "[] False", "True"]


@pytest.mark.parametrize(("cores", "rests"), [(2, True), (3, True), (4, False), (64, False)])
def test_where_cores_are_few_the_first_work_goes_first(cores: int, rests: bool) -> None:
    assert (rest_s(cores) > 0) is rests
