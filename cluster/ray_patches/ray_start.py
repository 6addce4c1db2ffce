"""`python -m cluster.ray_patches.ray_start ...` is `ray ...` with the patches of that process."""

import os
import sys

from cluster.ray_patches.decision import ALL, APPLIED, apply_at
from cluster.ray_patches.patch import Place


def main() -> None:
    """Ray's own command line, as this process was given it."""
    apply_at(Place.RAY_START)
    names = os.environ.get(APPLIED, "").split(",")
    if any(patch.name in names and Place.AUTOSCALER in patch.at for patch in ALL):
        from cluster.ray_patches.process_commands import run_autoscaler_through_ours  # noqa: PLC0415 - Ray's own names

        run_autoscaler_through_ours()
    from ray.scripts.scripts import main as ray_command_line  # noqa: PLC0415 - after what it is to be started with

    sys.argv[0] = "ray"
    ray_command_line()


if __name__ == "__main__":
    main()
