"""Once a day: read what clouds have billed, hold it against the ledger, keep and show the difference."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from autoscaler.billing.comparison import Bill, Bounds, Comparison, compare
from autoscaler.billing.records import BillRecords, Skipped
from autoscaler.errors import CloudError, message_of
from autoscaler.records.ledger import Ledger

_log = logging.getLogger(__name__)
_DAY_S = 86_400.0
# A month and what may be settled late.
_WINDOW_S = 35 * _DAY_S
_EVERY_S, _RETRY_S = _DAY_S, 3_600.0
_CALL_TIMEOUT_S = 120.0


@runtime_checkable
class BillingCloud(Protocol):
    """A cloud that tells what it has billed."""

    async def read_bill(self, since: float, until: float) -> Bill:
        """What each machine of the account cost from `since` to `until` (unix seconds). Raises CloudError."""
        ...


class Reconciliation:
    """Compares the ledger with the bills of all `providers` that tell theirs. Database work runs in threads."""

    def __init__(
        self,
        ledger: Ledger,
        records: BillRecords,
        providers: Mapping[str, object],
        is_ours: Callable[[str], bool],
        clock: Callable[[], float],
        bounds: Bounds,
    ) -> None:
        self._ledger, self._records, self._clock, self._bounds = ledger, records, clock, bounds
        self._clouds = {name: cloud for name, cloud in providers.items() if isinstance(cloud, BillingCloud)}
        self._is_ours = is_ours
        self._latest: list[dict[str, Any]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Check every cloud once a day, a failed one again after an hour, until `stop`."""
        await self._in_thread("the bills of the last time cannot be read", self._refresh)
        while not stop.is_set():
            for name in self.due():
                await self.check_one(name)
            try:
                async with asyncio.timeout(_RETRY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def check(self) -> list[dict[str, Any]]:
        """Check all clouds now, side by side; what is known then."""
        await asyncio.gather(*(self.check_one(name) for name in self._clouds))
        return self.view()

    def view(self) -> list[dict[str, Any]]:
        """The latest reconciliation of each cloud, from memory."""
        return self._latest

    def warnings(self) -> list[str]:
        """A sentence for each cloud whose bill differs by more than the bounds allow."""
        return [
            f"{cloud['cloud']} has billed {cloud['billed_usd']:.2f} USD where the ledger has {cloud['ledger_usd']:.2f}"
            f" ({cloud['difference_usd']:.2f} USD of differences): see aima costs --reconcile"
            for cloud in self._latest
            if cloud["exceeds"]
        ]

    def due(self) -> list[str]:
        """Clouds whose bill was not read for a day."""
        now, known = self._clock(), {cloud["cloud"]: cloud for cloud in self._latest}
        return [
            name for name in self._clouds if name not in known or now - (known[name]["checked_at"] or 0) >= _EVERY_S
        ]

    async def check_one(self, name: str) -> None:
        """Read the bill of one cloud and keep what it shows, or why it cannot be had."""
        now = self._clock()
        since = now - _WINDOW_S - (now - _WINDOW_S) % _DAY_S
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                bill = await self._clouds[name].read_bill(since, now)
        except (CloudError, TimeoutError) as error:
            said = message_of(error)
            _log.warning("the bill of %s cannot be had, which is tried again: %s", name, said)
            await self._in_thread("a failed look at a bill cannot be written", self._fail, name, said, now)
        except Exception as error:  # an odd bill of one cloud is no reason to read no other
            _log.exception("the bill of %s cannot be read", name)
            await self._in_thread("a failed look at a bill cannot be written", self._fail, name, message_of(error), now)
        else:
            await self._in_thread("what a cloud has billed cannot be written", self._compare, name, bill, since, now)

    def _fail(self, name: str, said: str, now: float) -> None:
        self._records.create_tables()
        self._records.keep_failure(name, said, now)
        self._refresh()

    def _compare(self, name: str, bill: Bill, since: float, now: float) -> None:
        self._records.create_tables()
        # A machine that was bought before `since` may have its last hours on this bill: it is ours, but not compared.
        earlier = {i.instance_id for i in self._ledger.bought_since(since - _WINDOW_S) if (i.bought_at or 0.0) < since}
        usd = {key: amount for key, amount in bill.usd.items() if key not in earlier}
        bill = Bill(usd, bill.names, bill.skipped, bill.example)
        launches = self._ledger.bought_since(since)
        comparison: Comparison = compare(name, launches, bill, self._is_ours, now, self._bounds)
        self._records.keep(comparison, Skipped(bill.skipped, bill.example), now)
        self._refresh()

    def _refresh(self) -> None:
        self._records.create_tables()
        self._latest = self._records.view()

    async def _in_thread(self, trouble: str, work: Callable[..., None], *arguments: Any) -> None:
        """Do the database's work; without a database, the loop that checks bills goes on."""
        try:
            await asyncio.to_thread(work, *arguments)
        except Exception:
            _log.exception("%s", trouble)
