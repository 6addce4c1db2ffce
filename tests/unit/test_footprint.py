"""How the footprint benchmark names and adds."""

import pytest

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
