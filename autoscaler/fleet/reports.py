"""What machines say of themselves: how far they have come, that they cannot work, and which instance they are."""

import re
from collections.abc import Callable

from autoscaler.decisions import races
from autoscaler.fleet.demand import Demand
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.purchasing import Purchasing
from autoscaler.records.sentences import printable
from autoscaler.types import Instance, InstanceStatus, Intent, IntentState

_INSTANCE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Reports:
    """Every call is about a launch by its name; what is over or unknown is ignored."""

    def __init__(
        self, launches: Launches, demand: Demand, purchasing: Purchasing, rest: Callable[[Intent, str], None]
    ) -> None:
        self._launches, self._demand, self._purchasing, self._rest = launches, demand, purchasing, rest

    def joined(self, name: str) -> None:
        """The instance has become a Ray node. Its rival has lost."""
        intent = self._launches.get(name)
        if intent is not None and intent.joined_at is None:
            now = self._launches.clock()
            sentence = f"it joined {now - intent.wanted_at:.1f} s after it was wanted"
            self._launches.change(name, sentence, joined_at=now, phases={**intent.phases, "Ray up": now})
            for other in races.pair(self._launches.live(), name):
                if other.name != name and intent.state is not IntentState.ENDING:
                    self._demand.give_up(other.name, f"{name} joined first")

    def phase(self, name: str, phase: str, ago_s: float = 0.0) -> None:
        """The instance has reached a boot phase, so many seconds ago."""
        if (intent := self._launches.get(name)) is not None and phase not in intent.phases:
            phases = {**intent.phases, phase: self._launches.clock() - ago_s}
            self._launches.change(name, f"it reports: {phase}", phases=phases)

    def failed(self, name: str, reason: str) -> None:
        """The instance cannot work: it is ended, and its machine left alone for a while."""
        intent, reason = self._launches.get(name), printable(reason)
        if intent is not None and self._launches.end(name, f"it reports: {reason}", broken=True):
            self._rest(intent, reason)
        self._demand.wake(None)

    def identified(self, name: str, instance_id: str) -> None:
        """A machine says which one it is: so a purchase without a clear answer has happened, whatever lists show."""
        intent = self._launches.get(name)
        if intent is None or intent.cloud is None or intent.instance_id or not _INSTANCE_ID.fullmatch(instance_id):
            return
        if any((i.cloud, i.instance_id) == (intent.cloud, instance_id) for i in self._launches.live()):
            return  # another's: a machine could have that one ended
        since, price = intent.buying_at or self._launches.clock(), intent.price_usd_per_hour or 0.0
        own = Instance(intent.cloud, instance_id, name, InstanceStatus.PENDING, since, price)
        self._purchasing.bought(name, own, f"its machine says that it is {instance_id} of {intent.cloud}")

    def note(self, subject: str, sentence: str) -> None:
        """An event that is about no launch's state, such as a stranger at the door."""
        self._launches.note(subject, sentence)
