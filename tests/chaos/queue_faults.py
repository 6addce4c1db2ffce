"""What goes wrong with the queue: it is emptied, killed and started empty, or stands still."""

import contextlib
import random
from collections.abc import Iterator

from tests.chaos.faults import Kind, asleep
from tests.chaos.schedule import Habit
from tests.chaos.servers import broker
from tests.chaos.stage import Stage


@contextlib.contextmanager
def queue_emptied(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """FLUSHALL."""
    assert stage.queue
    yield "everything in the queue was deleted" if stage.queue.ask("FLUSHALL") == "+OK" else ""


@contextlib.contextmanager
def queue_killed(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """SIGKILL to the queue, which is empty when it is started again."""
    assert stage.queue
    stage.queue.kill()
    try:
        yield "the queue was killed with all that was in it"
    finally:
        stage.queue.start()


@contextlib.contextmanager
def queue_stopped(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """SIGSTOP: it takes connections and answers none."""
    assert stage.queue
    with asleep([stage.queue.process()]):
        yield "the queue stands still"


def _missing(_stage: Stage) -> str:
    return broker.missing()


KINDS = {
    "queue emptied": Kind(queue_emptied, missing=_missing),
    "queue killed": Kind(queue_killed, Habit((0.0, 10.0), rest_s=10), _missing),
    "queue stopped": Kind(queue_stopped, Habit((2.0, 10.0)), _missing),
}
