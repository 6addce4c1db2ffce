"""End whatever a cluster has rented, without its orchestrator: by known ids, and by the names in the clouds' lists."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoscaler.clouds.contract import CloudProvider
from autoscaler.errors import CloudError, CloudStopped, message_of
from autoscaler.types import Instance
from cluster.orchestrator.ledger_file import OpenEntry

_CALL_TIMEOUT_S = 30.0
_PAUSE_S = 3.0
# A purchase that was under way when the head died may be listed late: this many good empty lists in a row prove zero.
_EMPTY_LISTS = 3
# A cloud that refuses altogether does so until a person has mended it.
_REFUSALS = 3
Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Swept:
    """What became of one cloud. `unknown`: why nothing can be said of it; "" when its last list was good.

    `may_bill`: what was known to be open there, and what a list has shown since, by id or name.
    """

    ended: set[str]
    left: list[str]
    unknown: str = "not asked yet"
    empty_lists: int = 0
    refusals: int = 0
    may_bill: dict[str, OpenEntry] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether good lists have shown that nothing is there."""
        return not self.unknown and self.empty_lists >= _EMPTY_LISTS

    @property
    def given_up(self) -> bool:
        """Whether asking again is no use."""
        return self.refusals >= _REFUSALS

    def view(self) -> dict[str, Any]:
        return {"ended": sorted(self.ended), "left": self.left, "unknown": self.unknown}


async def sweep(
    providers: Mapping[str, CloudProvider],
    timeout_s: float,
    say: Say,
    sleep: Sleep = asyncio.sleep,
    known: Sequence[OpenEntry] = (),
    settled_in_s: Mapping[str, float] | None = None,
) -> dict[str, Swept]:
    """Ask every cloud for the end of all that is `known` and all it lists, until good lists are empty or time is over.

    Clouds are swept side by side: one that does not answer keeps nothing alive at another. `settled_in_s`: for so long
    from now on a cloud's list may lag behind a purchase, and an empty one proves nothing.
    """
    swept = {name: Swept(set(), [], may_bill=_at(name, known)) for name in providers}
    settled_in_s, start = settled_in_s or {}, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(timeout_s):
            work = [
                _sweep_one(provider, swept[name], start + settled_in_s.get(name, 0.0), say, sleep)
                for name, provider in providers.items()
            ]
            await asyncio.gather(*work)
    except TimeoutError:
        say(f"not done within {timeout_s:.0f} s")
    return swept


def sweep_once(
    providers: Mapping[str, CloudProvider],
    timeout_s: float,
    say: Say,
    known: Sequence[OpenEntry] = (),
    settled_in_s: Mapping[str, float] | None = None,
) -> dict[str, Swept]:
    """The same for whoever has no event loop, and needs the providers no more."""

    async def work() -> dict[str, Swept]:
        try:
            return await sweep(providers, timeout_s, say, known=known, settled_in_s=settled_in_s)
        finally:
            await asyncio.gather(*(provider.close() for provider in providers.values()))

    return asyncio.run(work())


def _at(cloud: str, known: Sequence[OpenEntry]) -> dict[str, OpenEntry]:
    return {entry.instance_id or entry.name: entry for entry in known if entry.cloud == cloud}


async def _sweep_one(provider: CloudProvider, swept: Swept, settled_at: float, say: Say, sleep: Sleep) -> None:
    while not swept.done and not swept.given_up:
        # By their ids first: what is known is ended even where no list can be had.
        ids = [entry for entry in swept.may_bill.values() if entry.instance_id and entry.name not in swept.ended]
        await asyncio.gather(*(_end(provider, entry.name, entry.instance_id, swept, say) for entry in ids))
        asked_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                instances = await provider.list_instances()
        except (CloudError, TimeoutError) as error:
            _not_listed(provider.name, swept, error, say)
        else:
            swept.unknown, swept.refusals, swept.left = "", 0, [instance.name for instance in instances]
            swept.may_bill |= {instance.instance_id: _entry(instance) for instance in instances}
            swept.empty_lists = 0 if instances or asked_at < settled_at else swept.empty_lists + 1
            await asyncio.gather(*(_end(provider, i.name, i.instance_id, swept, say) for i in instances))
        if not swept.done and not swept.given_up:
            await sleep(_PAUSE_S)


def _not_listed(cloud: str, swept: Swept, error: Exception, say: Say) -> None:
    if message_of(error) != swept.unknown:
        say(f"{cloud}: its list cannot be had, so nothing is known: {message_of(error)}")
    swept.unknown, swept.empty_lists = message_of(error), 0
    swept.refusals = swept.refusals + 1 if isinstance(error, CloudStopped) else 0


async def _end(provider: CloudProvider, name: str, instance_id: str, swept: Swept, say: Say) -> None:
    if name not in swept.ended:
        say(f"{provider.name}: ending {name} ({instance_id})")
    try:
        async with asyncio.timeout(_CALL_TIMEOUT_S):
            await provider.terminate_instance(instance_id)
        swept.ended.add(name)
    except (CloudError, TimeoutError) as error:
        say(f"{provider.name}: {name} does not end, which is tried again: {message_of(error)}")


def _entry(instance: Instance) -> OpenEntry:
    price = instance.price_usd_per_hour or None
    return OpenEntry(instance.name, instance.cloud, instance.instance_id, price, instance.created_at or 0.0)
