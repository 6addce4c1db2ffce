"""Serve's controller looks often while something is on its way, and rarely otherwise; it is written to be told so."""

import warnings
from types import SimpleNamespace

import pytest
from ray._common.utils import import_attr

from cluster.ray_patches.registry import PATCHES

with warnings.catch_warnings(action="ignore"):  # Serve's own
    from ray.serve._private import controller
    from ray.serve._private.application_state import ApplicationStateManager
    from ray.serve.schema import ApplicationStatus

    from cluster.ray_patches.serve_controller import BUSY_S, QUIET_S, paced


def applications(statuses: str, *, healthy: bool = True, target: int = 0, count: int = 0) -> SimpleNamespace:
    """Serve's view of the applications, as far as it is asked: one with an API, and a model with `count` replicas."""
    states = {name: SimpleNamespace(status=ApplicationStatus[status]) for name, status in enumerate(statuses.split())}
    replicas = SimpleNamespace(count=lambda: count)
    api = SimpleNamespace(should_autoscale=lambda: False, target_num_replicas=1)
    model = SimpleNamespace(should_autoscale=lambda: True, target_num_replicas=target, _replicas=replicas)
    manager = SimpleNamespace(_all_deployments_healthy=healthy, _deployment_states={"api": api, "model": model})
    return SimpleNamespace(_application_states=states, _deployment_state_manager=manager)


@pytest.mark.parametrize(
    ("state", "rest_s"),
    [
        (applications("RUNNING RUNNING"), QUIET_S),
        (applications("RUNNING RUNNING", healthy=False), BUSY_S),
        (applications("RUNNING RUNNING", target=1, count=1), QUIET_S),
        (applications("RUNNING RUNNING", target=1, count=1, healthy=False), BUSY_S),
        (applications("RUNNING RUNNING", target=2, count=1), BUSY_S),
        (applications("RUNNING RUNNING", target=1), BUSY_S),
        (applications("RUNNING RUNNING", count=1), BUSY_S),
        (applications("RUNNING DEPLOYING"), BUSY_S),
        (applications("DELETING"), BUSY_S),
        (applications(""), BUSY_S),
    ],
)
def test_looks_often_while_something_is_on_its_way(
    state: SimpleNamespace, rest_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "CONTROL_LOOP_INTERVAL_S", -1.0)
    paced(lambda _: None)(state)
    assert rest_s == controller.CONTROL_LOOP_INTERVAL_S


def test_looks_often_after_a_look_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def update(_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(controller, "CONTROL_LOOP_INTERVAL_S", -1.0)
    with pytest.raises(OSError, match="no"):
        paced(update)(SimpleNamespace())
    assert controller.CONTROL_LOOP_INTERVAL_S == BUSY_S


def test_the_controller_is_paced_when_it_calls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr(ApplicationStateManager, "update", looks.append)
    (pacing,) = [patch for patch in PATCHES if patch.name == "serve_pacing"]
    import_attr(pacing.variables["RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH"])()
    ApplicationStateManager.update(seen := applications("RUNNING"))
    assert looks == [seen]
