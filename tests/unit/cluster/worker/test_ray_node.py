"""How workers start their nodes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private import log_monitor, ray_constants, services

from cluster.ray_patches.preloaded_worker import rest_s
from cluster.ray_patches.start_worker import narrowed
from cluster.worker import ray_node
from cluster.worker.ray_node import CALM, WARM, StartLock

RAYLET = ["/ray/raylet", "--num_prestart_python_workers=8", "--session_dir=/tmp/ray"]


def test_only_one_node_of_a_machine_starts_at_a_time() -> None:
    first, second, third = StartLock(), StartLock(), StartLock()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert not third.acquire()
    second.release()
    third.release()


@pytest.mark.parametrize(("gpus", "warm"), [(1, WARM), (0, {})])
def test_nodes_with_a_gpu_start_with_processes_that_import_what_models_need(
    gpus: int, warm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}
    monkeypatch.setattr(subprocess, "Popen", lambda command, env: started.update(env, command=command))
    flags = ["--num-cpus=4", f"--num-gpus={gpus}", "--address=127.77.0.1:1"]
    ray_node.start("one", {"ray_start_flags": flags, "ray_token": "t", "node_type": "n", "drain_s": 1, "grace_s": 9})
    assert {name: value for name, value in started.items() if name in WARM} == warm
    assert started["command"][:4] == [sys.executable, "-m", "cluster.ray_patches.start_worker", "start"]
    assert started["command"][-3:] == flags


@pytest.mark.parametrize(("at_most", "number"), [(2, 2), (9, 8)])
def test_a_node_starts_with_no_more_processes_than_it_has_use_for(at_most: int, number: int) -> None:
    command = narrowed(RAYLET, ray_constants.PROCESS_TYPE_RAYLET, at_most)
    assert command == [RAYLET[0], f"--num_prestart_python_workers={number}", RAYLET[2]]
    assert narrowed(RAYLET, ray_constants.PROCESS_TYPE_MONITOR, at_most) == RAYLET


@pytest.mark.parametrize("name", list(WARM))
def test_ray_knows_the_name(name: str) -> None:
    raylet = Path(services.RAYLET_EXECUTABLE).read_bytes()
    assert name.removeprefix("RAY_").encode() in raylet


@pytest.mark.parametrize("name", list(CALM))
def test_its_log_monitor_knows_the_name(name: str) -> None:
    assert f'os.getenv("{name}"' in Path(log_monitor.__file__).read_text(encoding="utf-8")


def test_ray_is_told_how_many_processes_to_start_with_by_this_flag() -> None:
    assert '"--num_prestart_python_workers={}"' in Path(services.__file__).read_text(encoding="utf-8")


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
