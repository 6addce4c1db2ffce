"""`python -m cluster.ray_patches.start_worker ...` is `ray start ...` for a worker, with only the processes in use.

Ray starts one for each CPU, however few things run on a node for which a GPU is rented; warmed up (see
preloaded_worker), each has torch in it, a quarter of a GiB. One for each GPU and one for what supervises a job are
enough: others start when needed.
"""

import sys
from collections.abc import Sequence

from ray._private import ray_constants

from cluster.ray_patches.ray_commands import carry_out
from cluster.worker.ray_node import gpus_of

_PRESTARTED = "--num_prestart_python_workers="


def narrowed(command: Sequence[str], process_type: str, at_most: int) -> list[str]:
    """The command of one of Ray's processes, as a worker wants it. ValueError: this Ray does it otherwise."""
    if process_type != ray_constants.PROCESS_TYPE_RAYLET:
        return list(command)
    (at,) = (at for at, word in enumerate(command) if word.startswith(_PRESTARTED))
    number = min(at_most, int(command[at].removeprefix(_PRESTARTED)))
    return [*command[:at], f"{_PRESTARTED}{number}", *command[at + 1 :]]


def main() -> None:
    """Ray's own command line, as this process was given it."""
    at_most = gpus_of(sys.argv) + 1
    carry_out(lambda command, process_type: narrowed(command, process_type, at_most))


if __name__ == "__main__":
    main()
