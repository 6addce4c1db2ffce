"""End whatever a cluster has rented, without its head and its database: by the names at the clouds alone."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoscaler.clouds.contract import CloudProvider
from autoscaler.errors import CloudError, message_of
from autoscaler.types import Instance

_CALL_TIMEOUT_S = 30.0
_PAUSE_S = 3.0
# A purchase that was under way when the head died may be listed late: this many good empty lists in a row prove zero.
_EMPTY_LISTS = 3


@dataclass
class Swept:
    """What became of one cloud. `unknown`: why nothing can be said of it; "" when its last list was good."""

    ended: set[str]
    left: list[str]
    unknown: str = "not asked yet"
    empty_lists: int = 0

    @property
    def done(self) -> bool:
        """Whether good lists have shown that nothing is there."""
        return not self.unknown and self.empty_lists >= _EMPTY_LISTS

    def view(self) -> dict[str, Any]:
        return {"ended": sorted(self.ended), "left": self.left, "unknown": self.unknown}


async def sweep(
    providers: Mapping[str, CloudProvider],
    timeout_s: float,
    say: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Swept]:
    """Ask every cloud for the end of all it lists, until good lists are empty or the time is over.

    Clouds are swept side by side: one that does not answer keeps nothing alive at another.
    """
    swept = {name: Swept(set(), []) for name in providers}
    try:
        async with asyncio.timeout(timeout_s):
            work = [_sweep_one(provider, swept[name], say, sleep) for name, provider in providers.items()]
            await asyncio.gather(*work)
    except TimeoutError:
        say(f"not done within {timeout_s:.0f} s")
    return swept


async def _sweep_one(
    provider: CloudProvider, swept: Swept, say: Callable[[str], None], sleep: Callable[[float], Awaitable[None]]
) -> None:
    while not swept.done:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                instances = await provider.list_instances()
        except (CloudError, TimeoutError) as error:
            if message_of(error) != swept.unknown:
                say(f"{provider.name}: its list cannot be had, so nothing is known: {message_of(error)}")
            swept.unknown, swept.empty_lists = message_of(error), 0
        else:
            swept.unknown, swept.left = "", [instance.name for instance in instances]
            swept.empty_lists = 0 if instances else swept.empty_lists + 1
            await _end_all(provider, instances, swept, say)
        if not swept.done:
            await sleep(_PAUSE_S)


async def _end_all(
    provider: CloudProvider, instances: Sequence[Instance], swept: Swept, say: Callable[[str], None]
) -> None:
    for instance in instances:
        if instance.name not in swept.ended:
            say(f"{provider.name}: ending {instance.name} ({instance.instance_id})")
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await provider.terminate_instance(instance.instance_id)
            swept.ended.add(instance.name)
        except (CloudError, TimeoutError) as error:
            say(f"{provider.name}: {instance.name} does not end, which is tried again: {message_of(error)}")
