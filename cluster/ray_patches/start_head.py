"""`python -m cluster.ray_patches.start_head ...` is `ray start ...` for the head, with only the parts of Ray in use.

`ray start` knows the whole dashboard or none, and without it there are no jobs; the dashboard's own program can be told
which modules to load. It and Ray's autoscaler are started through programs of ours that slow them down.
"""

from collections.abc import Sequence

from ray._private import ray_constants

import cluster.ray_patches.head_process  # noqa: F401 - before Ray's command line, which imports Serve too
from cluster.ray_patches.quiet_settings import DASHBOARD_MODULES
from cluster.ray_patches.ray_commands import carry_out


def narrowed(command: Sequence[str], process_type: str) -> list[str]:
    """The command of one of Ray's processes, as the head wants it."""
    if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
        ours = _through("cluster.ray_patches.dashboard", "/dashboard/dashboard.py", command)
        # Not --disable-frontend: that closes its port to jobs, too.
        return [*ours, f"--modules-to-load={','.join(DASHBOARD_MODULES)}"]
    if process_type == ray_constants.PROCESS_TYPE_MONITOR:
        return _through("cluster.ray_patches.autoscaler_monitor", "/autoscaler/v2/monitor.py", command)
    return list(command)


def _through(module: str, script: str, command: Sequence[str]) -> list[str]:
    """The script's command with our module in front of the script, which that runs."""
    (at,) = (at for at, word in enumerate(command) if word.endswith(script))
    return [*command[:at], "-m", module, *command[at:]]


if __name__ == "__main__":
    carry_out(narrowed)
