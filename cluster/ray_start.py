"""`python -m cluster.ray_start ...` is `ray start ...` for the head, with as much of Ray beside it as is used.

`ray start` knows the whole dashboard or none, and without it there are no jobs; the dashboard's own program can be told
which modules to load. It and Ray's autoscaler are started through programs of ours that slow them down.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ray._private import ray_constants, services
from ray.scripts.scripts import main as ray_command_line

import cluster.head_worker  # noqa: F401 - before Ray's command line, which imports Serve too
from cluster.lean import DASHBOARD_MODULES


def narrowed(command: Sequence[str], process_type: str) -> list[str]:
    """The command of one of Ray's processes, as the head wants it."""
    if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
        ours = _through("cluster.ray_dashboard", "/dashboard/dashboard.py", command)
        # Not --disable-frontend: that closes its port to jobs, too.
        return [*ours, f"--modules-to-load={','.join(DASHBOARD_MODULES)}"]
    if process_type == ray_constants.PROCESS_TYPE_MONITOR:
        return _through("cluster.ray_monitor", "/autoscaler/v2/monitor.py", command)
    return list(command)


def _through(module: str, script: str, command: Sequence[str]) -> list[str]:
    """The script's command with our module in front of the script, which that runs."""
    (at,) = (at for at, word in enumerate(command) if word.endswith(script))
    return [*command[:at], "-m", module, *command[at:]]


def _narrowing(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_ray_process(command: Sequence[str], process_type: str, *rest: Any, **options: Any) -> Any:
        return start(narrowed(command, process_type), process_type, *rest, **options)

    return start_ray_process


def main() -> None:
    """Ray's own command line, from its first word after `ray`."""
    services.start_ray_process = _narrowing(services.start_ray_process)
    sys.argv[0] = "ray"
    ray_command_line()


if __name__ == "__main__":
    main()
