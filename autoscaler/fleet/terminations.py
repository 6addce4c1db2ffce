"""Ends machines by their ids: at once and again and again, paced per machine, whatever else is known of the cloud.

An end waits for nothing: not for the ledger, not for a list, not for the pause that a cloud has asked of other calls.
A machine that does not end through its cloud is told, through the overlay, to end itself.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from autoscaler.decisions.commands import Terminate
from autoscaler.errors import message_of
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.spec import Pace
from autoscaler.fleet.watch import Watch, bounded
from autoscaler.records.sentences import printable
from autoscaler.types import Instance, Intent, IntentState

_log = logging.getLogger(__name__)
_FIRST_RETRY_S = 1.0
# From one attempt to the next at least, whatever is listed; and how long a failed machine's log may keep it alive.
_LEAST_S, _EXCERPT_TIMEOUT_S = 1.0, 5.0
# Told to end itself: the machine's launch and why; whether there was a connection to say it through.
Tell = Callable[[str, str], bool]


@dataclass
class _Attempts:
    """What has been tried to end one machine."""

    last_at: float
    next_at: float
    failures: int = 0


class Terminations:
    """One call per machine at a time; which machines are to end is the reconciler's to say."""

    def __init__(self, launches: Launches, watch: Watch, pace: Pace, tell: Tell) -> None:
        self._launches, self._watch, self._pace, self._tell = launches, watch, pace, tell
        self._attempts: dict[tuple[str, str], _Attempts] = {}
        self._accepted_ends: set[tuple[str, str]] = set()
        self._tell_at: dict[str, float] = {}

    def due(self, command: Terminate) -> bool:
        """Whether to ask for its end now: a new list that still shows it is reason enough, else the pace decides."""
        attempts = self._attempts.get((command.instance.cloud, command.instance.instance_id))
        if attempts is None:
            return True
        now = self._launches.clock()
        return now >= attempts.next_at or (not command.unlisted and now - attempts.last_at >= _LEAST_S)

    async def ask(self, command: Terminate) -> None:
        """Ask the cloud once; an error is kept as the cloud's trouble, and the next attempt follows."""
        instance = command.instance
        if command.broken:
            await self._keep_excerpt(instance)
        key = (instance.cloud, instance.instance_id)
        now = self._launches.clock()
        attempts = self._attempts.setdefault(key, _Attempts(now, now))
        attempts.last_at = now
        try:
            call = self._watch.providers[instance.cloud].terminate_instance(instance.instance_id)
            await bounded(call, self._pace.call_timeout_s)
        except Exception as error:  # the next attempt follows, and other machines are to end meanwhile
            attempts.failures += 1
            self._watch.failed(instance.cloud, "end", f"it does not end {instance.name}, which is tried again", error)
            pause_s = min(self._pace.end_retry_s, _FIRST_RETRY_S * 2.0 ** min(attempts.failures - 1, 10))
        else:
            self._accepted(instance, attempts)
            pause_s = self._pace.end_retry_s
        attempts.next_at = self._launches.clock() + pause_s

    def accepted(self) -> frozenset[tuple[str, str]]:
        """(cloud, instance id) of what its cloud has accepted, in this process, to end."""
        return frozenset(self._accepted_ends)

    def forget(self, intent: Intent) -> None:
        """The launch is over."""
        key = (intent.cloud or "", intent.instance_id or "")
        self._accepted_ends.discard(key)
        self._attempts.pop(key, None)
        self._tell_at.pop(intent.name, None)

    def tell_overdue(self, live: Iterable[Intent]) -> None:
        """Tell machines that have been ending for too long to end themselves, again and again."""
        now, after_s = self._launches.clock(), self._pace.self_end_after_s
        for intent in live:
            overdue = intent.state is IntentState.ENDING and now - (intent.ending_at or now) >= after_s
            if not overdue or now < self._tell_at.get(intent.name, 0.0):
                continue
            self._tell_at[intent.name] = now + after_s
            if self._tell(intent.name, intent.reason):
                self._launches.note(intent.name, "it does not end through its cloud and is told to end itself", "told")

    def _accepted(self, instance: Instance, attempts: _Attempts) -> None:
        """Look once, soon, whether it has ended, so that the ledger's seconds are the cloud's; later in turn."""
        attempts.failures = 0
        self._watch.recovered(instance.cloud, "end")
        if (key := (instance.cloud, instance.instance_id)) not in self._accepted_ends:
            self._accepted_ends.add(key)
            self._watch.list_soon(instance.cloud)

    async def _keep_excerpt(self, instance: Instance) -> None:
        """What the cloud's log says of a machine that failed, while it can be asked."""
        try:
            call = self._watch.providers[instance.cloud].log_excerpt(instance.instance_id)
            said = await bounded(call, min(self._pace.call_timeout_s, _EXCERPT_TIMEOUT_S))
        except Exception as error:  # no explanation keeps a machine from its end
            _log.info("its log cannot be had: %s", message_of(error), extra={"instance": instance.name})
            return
        intent = self._launches.get(instance.name)
        if said and intent is not None:
            last = f"its log ends with: {printable(said)}"
            self._launches.change(instance.name, last, reason=f"{intent.reason}; {last}")
