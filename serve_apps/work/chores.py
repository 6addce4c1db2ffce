"""What the service does beside answering: work that comes round, each kind in a loop that outlives its errors."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from serve_apps.monitoring.measures import Measures, cause_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chore:
    """One kind of work. `step` does what is due and answers how much that was; after none, it rests `every_s`.

    While the service as a whole is quiet it rests `quiet_s`: most of what it does follows from other work.
    """

    step: Callable[[], Awaitable[int]]
    every_s: float
    quiet_s: float = 0.0


async def run_chores(
    chores: Mapping[str, Chore],
    stop: asyncio.Event,
    measures: Measures,
    quiet: Callable[[], bool] = lambda: False,
) -> None:
    """Do all of them side by side until `stop`. `quiet` answers whether nothing is going on."""
    await asyncio.gather(*(_repeat(name, chore, stop, measures, quiet) for name, chore in chores.items()))


async def _repeat(name: str, chore: Chore, stop: asyncio.Event, measures: Measures, quiet: Callable[[], bool]) -> None:
    while not stop.is_set():
        done = 0
        try:
            done = await chore.step()
        except Exception as error:  # the database, the storage or a broker may be away for a while
            measures.erred("chore", cause_of(error))
            _log.exception("%s failed; trying again in %.0f s", name, chore.every_s)
        if not done:
            await _rest(chore, stop, quiet)


async def _rest(chore: Chore, stop: asyncio.Event, quiet: Callable[[], bool]) -> None:
    """A clock tick costs nothing, the step a question to the database."""
    rested_s = 0.0
    while not stop.is_set() and (rested_s == 0 or (rested_s < chore.quiet_s and quiet())):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), chore.every_s)
        rested_s += chore.every_s
