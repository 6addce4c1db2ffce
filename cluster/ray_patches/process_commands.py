"""Changes to the commands of the processes that `ray start` starts."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from ray._private import ray_constants, services

from cluster.ray_patches.registry import DASHBOARD_MODULES

_PRESTARTED, _TEMP_DIR = "--num_prestart_python_workers=", "--temp-dir="
_log = logging.getLogger(__name__)
Change = Callable[[Sequence[str]], list[str]]


def change(process_type: str, changed: Change) -> None:
    """From here on commands of this type of process are changed. One that cannot be stays as Ray made it."""
    start = services.start_ray_process

    def start_ray_process(command: Sequence[str], of_type: str, *rest: Any, **options: Any) -> Any:
        if of_type == process_type:
            try:
                command = changed(command)
            except ValueError as error:
                _log.warning("Ray starts its %s as it wants: %s in %s", of_type, error, command)
        return start(command, of_type, *rest, **options)

    services.start_ray_process = start_ray_process


def narrow_dashboard() -> None:
    """Only the modules in use, and files of its own in Ray's directory, which goes with the cluster."""
    change(ray_constants.PROCESS_TYPE_DASHBOARD, narrowed_dashboard)


def narrowed_dashboard(command: Sequence[str]) -> list[str]:
    """The dashboard's command. Raises ValueError."""
    temp_dir = command[_position(command, _TEMP_DIR)].removeprefix(_TEMP_DIR)
    # Told to end, the dashboard would leave a directory of its own in the temporary directory each time.
    temporary = ["/usr/bin/env", f"TMPDIR={temp_dir}"]
    return [*temporary, *command, f"--modules-to-load={','.join(DASHBOARD_MODULES)}"]


def run_autoscaler_through_ours() -> None:
    """Where the autoscaler has patches: its script runs in a program of ours that applies them first."""
    change(ray_constants.PROCESS_TYPE_MONITOR, autoscaler_through_ours)


def autoscaler_through_ours(command: Sequence[str]) -> list[str]:
    """The autoscaler's command. Raises ValueError."""
    scripts = [at for at, word in enumerate(command) if word.endswith("/autoscaler/v2/monitor.py")]
    if len(scripts) != 1:
        raise ValueError("no script of autoscaler v2")
    return [*command[: scripts[0]], "-m", "cluster.ray_patches.autoscaler_monitor", *command[scripts[0] :]]


def limit_prestarted_workers() -> None:
    """As many as the node was told: others start when needed.

    Ray would start one for each CPU, however few things run on a node for which a GPU is rented; with torch in it (see
    preloaded_worker.py), each takes a quarter of a GiB.
    """
    at_most = int(os.environ["AIMA_PRESTARTED_WORKERS"])
    change(ray_constants.PROCESS_TYPE_RAYLET, lambda command: with_fewer_workers(command, at_most))


def with_fewer_workers(command: Sequence[str], at_most: int) -> list[str]:
    """The raylet's command. Raises ValueError."""
    at = _position(command, _PRESTARTED)
    number = min(at_most, int(command[at].removeprefix(_PRESTARTED)))
    return [*command[:at], f"{_PRESTARTED}{number}", *command[at + 1 :]]


def _position(command: Sequence[str], option: str) -> int:
    found = [at for at, word in enumerate(command) if word.startswith(option)]
    if len(found) != 1:
        raise ValueError(f"no {option}")
    return found[0]
