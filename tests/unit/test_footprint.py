"""How the footprint benchmark names and adds."""

import subprocess
from pathlib import Path

import pytest

from tests.benchmarks import head_environment
from tests.benchmarks.footprint import component_of, slope_per_hour


@pytest.mark.parametrize(
    ("command", "component"),
    [
        ("raylet /x/raylet --agent_command=python dashboard/agent.py", "raylet and object store"),
        ("python /x/ray/dashboard/dashboard.py --host=127.77.0.1", "Ray dashboard: jobs API"),
        ("ray-dashboard-JobHead-0 (python)", "Ray dashboard: modules"),
        ("ray::ServeReplica:aima:Api", "API and dispatcher"),
        ("python -m cluster.orchestrator.process", "orchestrator"),
        ("python -u -m cluster.ray_patches.autoscaler_monitor /x/ray/autoscaler/v2/monitor.py", "Ray autoscaler"),
        ("python -I -S /x/cluster/head/supervisor.py cluster.head.start", "head's first process"),
        ("postgres: checkpointer", "PostgreSQL"),
        ("something new", "other: something new"),
    ],
)
def test_every_process_has_a_component(command: str, component: str) -> None:
    assert component_of(command) == component


def test_the_slope_is_per_hour() -> None:
    assert slope_per_hour([(0.0, 100.0), (60.0, 101.0), (120.0, 102.0)]) == pytest.approx(60.0)
    assert slope_per_hour([(0.0, 100.0)]) == 0.0


def test_the_heads_environment_has_what_a_head_needs_and_nothing_of_workers(tmp_path: Path) -> None:
    """That Serve runs without pandas is no patch: the head's packages bring none."""
    code = "import importlib.util as u; print([name for name in %r if u.find_spec(name)])"
    names = ["ray", "fastapi", "av", "sqlalchemy", "pandas", "torch", "pytest"]
    done = subprocess.run(
        [head_environment.make(tmp_path), "-c", code % (names,)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        timeout=60,
    )
    assert done.stdout.strip() == str(names[:4])
