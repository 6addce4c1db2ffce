"""Wall clocks that jump by minutes, and are set right again."""

import contextlib
import random
from collections.abc import Iterator

from tests.chaos.faults import Kind
from tests.chaos.schedule import Habit
from tests.chaos.servers.wrong_clock import HEAD
from tests.chaos.stage import Stage

_LEAST_S, _MOST_S = 120.0, 900.0


@contextlib.contextmanager
def head_clock_jumps(stage: Stage, chance: random.Random) -> Iterator[str]:
    """The head's clock; what is started meanwhile finds it so."""
    with _off(stage, HEAD, chance) as sentence:
        yield sentence


@contextlib.contextmanager
def worker_clock_jumps(stage: Stage, chance: random.Random) -> Iterator[str]:
    """The clock of one rented machine."""
    if not (workers := stage.workers()):
        yield ""
        return
    with _off(stage, chance.choice(sorted(workers)), chance) as sentence:
        yield sentence


@contextlib.contextmanager
def _off(stage: Stage, machine: str, chance: random.Random) -> Iterator[str]:
    jump_s = chance.choice((-1, 1)) * chance.uniform(_LEAST_S, _MOST_S)
    with stage.clocks.off(machine, jump_s) as number:
        yield f"the wall clock of {machine} jumps by {jump_s:+.0f} s, seen by {number} processes" if number else ""


KINDS = {
    "head's clock jumps": Kind(head_clock_jumps, Habit((5.0, 25.0), rest_s=30)),
    "worker's clock jumps": Kind(worker_clock_jumps, Habit((5.0, 25.0))),
}
