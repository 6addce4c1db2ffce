"""What the service does beside answering: work that comes round, each kind in a loop that outlives its errors."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from serve_apps.measures import Measures, cause_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chore:
    """One kind of work. `step` does what is due and answers how much that was; after none, it rests `every_s`."""

    step: Callable[[], Awaitable[int]]
    every_s: float


async def run_chores(chores: Mapping[str, Chore], stop: asyncio.Event, measures: Measures) -> None:
    """Do all of them side by side until `stop`."""
    await asyncio.gather(*(_repeat(name, chore, stop, measures) for name, chore in chores.items()))


async def _repeat(name: str, chore: Chore, stop: asyncio.Event, measures: Measures) -> None:
    while not stop.is_set():
        done = 0
        try:
            done = await chore.step()
        except Exception as error:  # the database, the storage or a broker may be away for a while
            measures.erred("chore", cause_of(error))
            _log.exception("%s failed; trying again in %.0f s", name, chore.every_s)
        if not done:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), chore.every_s)
