"""Ray's own command line, with the commands of the processes that it starts as we want them."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ray._private import services
from ray.scripts.scripts import main as ray_command_line

# A process's command and Ray's word for what it is -> the command that is carried out.
Narrowed = Callable[[Sequence[str], str], list[str]]


def carry_out(narrowed: Narrowed) -> None:
    """Ray's command line, from its first word after `ray`, as this process was given it."""
    start = services.start_ray_process

    def start_ray_process(command: Sequence[str], process_type: str, *rest: Any, **options: Any) -> Any:
        return start(narrowed(command, process_type), process_type, *rest, **options)

    services.start_ray_process = start_ray_process
    sys.argv[0] = "ray"
    ray_command_line()
