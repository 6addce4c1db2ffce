"""Serve's controller, told to look around often only while something is on its way.

It would look at nodes, replicas and proxies ten times a second for ever: nearly half of an idle head's CPU time.
"""

from collections.abc import Callable
from typing import Any

from ray.serve._private import controller
from ray.serve._private.application_state import ApplicationStateManager
from ray.serve.schema import ApplicationStatus

# Seconds between two looks: while what runs is what is meant to run, and else. A request to a sleeping model waits for
# one slow look, and then for quick ones only; a machine that may go is paid for until a look.
QUIET_S, BUSY_S = 1.0, 0.1


def paced(update: Callable[[Any], None]) -> Callable[[Any], None]:
    """The look at the applications, a part of every look; it sets how long the controller rests afterwards."""

    def update_and_pace(applications: Any) -> None:
        controller.CONTROL_LOOP_INTERVAL_S = BUSY_S  # should the look fail
        update(applications)
        controller.CONTROL_LOOP_INTERVAL_S = _rest_s(applications)

    return update_and_pace


def _rest_s(applications: Any) -> float:
    running = [state.status == ApplicationStatus.RUNNING for state in applications._application_states.values()]
    deployments = applications._deployment_state_manager
    healthy: bool = deployments._all_deployments_healthy
    # `healthy` is older than the decision to start or end one, which this very look may have taken.
    models = [state for state in deployments._deployment_states.values() if state.should_autoscale()]
    settled = all(model.target_num_replicas == model._replicas.count() for model in models)
    return QUIET_S if healthy and running and all(running) and settled else BUSY_S


def apply() -> None:
    """Called by the controller as it starts (RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH)."""
    # Not a method of the controller itself: Ray has made a class of its own out of that one by now.
    ApplicationStateManager.update = paced(ApplicationStateManager.update)
