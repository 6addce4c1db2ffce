"""One listing per cloud at a time, all clouds side by side: a slow or failing cloud never holds up another."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from autoscaler.clouds.contract import CloudProvider
from autoscaler.decisions.quarantine import Holds
from autoscaler.errors import CloudError, CloudStopped, RateLimited, message_of
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.measures import cause_of
from autoscaler.fleet.spec import Pace
from autoscaler.types import Instance, InstanceStatus, Listing

_log = logging.getLogger(__name__)
# How the sentence about a cloud begins that refuses until a person has mended it.
STOPPED = "STOPPED"
# Between two listings of a cloud that is asked out of turn.
_LEAST_S = 1.0
T = TypeVar("T")
# So many odd rows of one cloud are written to the log, the others are counted.
_MAX_ODDITIES = 20


@dataclass
class _Seen:
    """What is known of one cloud's list."""

    asked_at: float = float("-inf")
    asking: asyncio.Task[Listing] | None = None
    last_good: Listing | None = None
    good: bool = False
    failures: int = 0
    due_soon: bool = False


class Watch:
    """The clouds: lists them, remembers the last good answer, and keeps what troubles each, and what rests, and why."""

    def __init__(self, providers: Mapping[str, CloudProvider], launches: Launches, pace: Pace) -> None:
        self.providers, self.holds = dict(providers), Holds()
        self._launches, self._clock, self._pace = launches, launches.clock, pace
        self._seen = {cloud: _Seen() for cloud in providers}
        self._troubles: dict[str, dict[str, str]] = {cloud: {} for cloud in providers}
        self._paused_until: dict[str, float] = {}
        self._oddities: dict[str, dict[str, str]] = {cloud: {} for cloud in providers}

    async def look(self) -> dict[str, Listing | None]:
        """Each cloud's list, or None where nothing is known: it failed, is paused, or has not answered yet."""
        now = self._clock()
        for cloud, seen in self._seen.items():
            if seen.asking is None and self._due(cloud, seen, now):
                seen.asked_at, seen.due_soon = now, False
                seen.asking = asyncio.create_task(self._ask(cloud, now))
        asking = [seen.asking for seen in self._seen.values() if seen.asking is not None]
        if asking:
            await asyncio.wait(asking, timeout=self._pace.patience_s)
        return {cloud: self._harvest(cloud, seen) for cloud, seen in self._seen.items()}

    def list_soon(self, cloud: str) -> None:
        """List the cloud with the next tick, whatever its pace: something is about to change there."""
        if cloud in self._seen:
            self._seen[cloud].due_soon = True

    def last_good(self) -> dict[str, tuple[Instance, ...]]:
        """What each cloud listed when it last answered well."""
        return {c: s.last_good.instances if s.last_good else () for c, s in self._seen.items()}

    def paused(self, cloud: str) -> bool:
        """Whether the cloud has asked for a pause of lists that still lasts."""
        return self._clock() < self._paused_until.get(cloud, 0.0)

    def failed(self, cloud: str, matter: str, what: str, error: Exception) -> None:
        """Show a failed call as degraded, and obey it: pauses and stops are kept.

        An error that is no cloud's is a defect of ours: its traceback goes to the log.
        """
        if not isinstance(error, CloudError | TimeoutError):
            _log.error("%s: %s", cloud, what, exc_info=error, extra={"cloud": cloud})
        self._launches.measures.cloud_failed(cloud, cause_of(error))
        now, sentence = self._clock(), f"{what}: {message_of(error)}"
        if isinstance(error, RateLimited):
            if matter == "list":  # what one kind of call has used up delays no other kind
                self._paused_until[cloud] = max(self._paused_until.get(cloud, 0.0), now + error.retry_after_s)
            self.holds.stop(cloud, now, error.retry_after_s, f"it asks for a pause of {error.retry_after_s:.0f} s")
        if isinstance(error, CloudStopped):
            sentence = f"{STOPPED}, nothing is bought here until this is mended: {sentence}"
            if matter != "list":  # an unknown list forbids buying by itself, and the next good one proves it mended
                self.holds.stop(cloud, now, self._pace.stopped_retry_s, str(error))
        self._troubles[cloud][matter] = sentence
        self._launches.note(cloud, sentence, matter)

    def recovered(self, cloud: str, matter: str) -> None:
        """A call of the same kind has succeeded: its trouble is over."""
        self._troubles[cloud].pop(matter, None)
        if self._launches.forget_note(cloud, matter):
            self._launches.note(cloud, "answers as it should again", "fine")
            self._launches.forget_note(cloud, "fine")

    def degraded(self) -> dict[str, str]:
        """Clouds in trouble, and why."""
        return {cloud: "; ".join(said.values()) for cloud, said in self._troubles.items() if said}

    def _due(self, cloud: str, seen: _Seen, now: float) -> bool:
        every_s = self._pace.list_every_s.get(cloud, 0.0) * 2.0 ** min(seen.failures, 4)
        every_s = min(every_s, _LEAST_S) if seen.due_soon and not seen.failures else every_s
        return not self.paused(cloud) and now - seen.asked_at >= every_s

    async def _ask(self, cloud: str, as_of: float) -> Listing:
        instances = await bounded(self.providers[cloud].list_instances(), self._pace.call_timeout_s)
        # Timed here: the answers of all clouds are looked at together, when the slowest has had its patience.
        skipped = tuple(self.providers[cloud].skipped_rows())
        return Listing(tuple(instances), as_of, answered_at=self._clock(), skipped=skipped)

    def _harvest(self, cloud: str, seen: _Seen) -> Listing | None:
        """The answer, if there is one; between two listings the last good one again, as no news."""
        task, since = seen.asking, self._clock() - seen.asked_at
        if task is None:
            return (
                replace(seen.last_good, news=False) if seen.good and seen.last_good and not self.paused(cloud) else None
            )
        if not task.done():
            seen.good = False
            self._troubles[cloud]["list"] = f"has not answered with its list for {since:.0f} s"
            return None
        seen.asking = None
        if (error := task.exception()) is not None:
            seen.good, seen.failures = False, seen.failures + 1
            assert isinstance(error, Exception)
            self.failed(cloud, "list", "its list of instances cannot be had", error)
            return None
        seen.good, seen.failures = True, 0
        seen.last_good = task.result()
        self.recovered(cloud, "list")
        self._show_oddities(cloud, seen.last_good)
        if not seen.last_good.instances:
            self.recovered(cloud, "end")
        return seen.last_good

    def _show_oddities(self, cloud: str, listing: Listing) -> None:
        """Show what a good list has that cannot be read or is not known, each once, as long as it is there."""
        rows = {f"unreadable_row {i} {r.name} {r.instance_id}": str(r) for i, r in enumerate(listing.skipped)}
        unknown = [i for i in listing.instances if i.status is InstanceStatus.UNKNOWN]
        odd = rows | {f"unknown_status {i.name} {i.instance_id}": f"{i.name}: {i.detail}" for i in unknown}
        for key in odd.keys() - self._oddities[cloud].keys():
            self._launches.measures.cloud_failed(cloud, key.split()[0])
            if len(self._oddities[cloud]) < _MAX_ODDITIES:
                _log.warning("%s lists what AIMA does not know: %s", cloud, odd[key], extra={"cloud": cloud})
        self._oddities[cloud] = odd
        self._troubles[cloud].pop("rows", None)
        if odd:
            told = "; ".join([*odd.values()][:3])
            more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
            self._troubles[cloud]["rows"] = f"it lists what AIMA cannot read or does not know: {told}{more}"
            self._launches.note(cloud, self._troubles[cloud]["rows"], "rows")
        else:
            self._launches.forget_note(cloud, "rows")


async def bounded(call: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """What the call returns. Raises TimeoutError after `timeout_s`, even when the call ignores that it is cancelled."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_read_outcome)
    if not task.done():
        raise TimeoutError
    return task.result()


def _read_outcome(late: "asyncio.Task[Any]") -> None:
    if not late.cancelled():
        late.exception()
