"""What is over and what was said, in memory: no view, budget or decision ever waits for the database."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from autoscaler.decisions.budget import month_start
from autoscaler.records.ledger import Event, Past
from autoscaler.types import Intent

_RECENT, _OF_A_TYPE, _OF_A_CLOUD, _EVENTS = 100, 20, 100, 20


@dataclass(frozen=True)
class Bill:
    """What a launch that is over was billed for. Times in unix seconds."""

    cloud: str
    node_type: str
    instance_id: str | None
    bought_at: float
    ended_at: float
    price_usd_per_hour: float
    transfer_usd: float = 0.0

    @classmethod
    def of(cls, intent: Intent) -> "Bill | None":
        """The intent's; None when nothing was bought."""
        if intent.cloud is None or intent.bought_at is None or intent.ended_at is None:
            return None
        price, once = intent.price_usd_per_hour or 0.0, intent.transfer_usd or 0.0
        return cls(intent.cloud, intent.node_type, intent.instance_id, intent.bought_at, intent.ended_at, price, once)

    def usd_since(self, since: float) -> float:
        """What of it falls after `since`: transfers are on the bill of the purchase."""
        by_the_hour = max(0.0, self.ended_at - max(since, self.bought_at)) / 3600 * self.price_usd_per_hour
        return by_the_hour + (self.transfer_usd if self.bought_at >= since else 0.0)


class History:
    """Bounded: the latest launches, this month's bills, and the latest events. Filled from the ledger, then kept up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: list[Intent] = []
        self._of_type: dict[str, deque[Intent]] = {}
        self._of_cloud: dict[str, deque[Intent]] = {}
        self._bills: dict[str, Bill] = {}
        self._billed_s: dict[tuple[str, str], float] = {}
        self._spent: dict[float, dict[str, float]] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS)

    def load(self, past: Past) -> None:
        """Take over what the ledger holds."""
        for intent in sorted(past.over, key=lambda i: i.ended_at or 0.0):
            self._remember(intent)
        for key, seconds in past.billed_s.items():
            self._billed_s[key] = self._billed_s.get(key, 0.0) + seconds
        said = [*past.events, *self._events]
        self._events.clear()
        self._events.extend(said)

    def add(self, intent: Intent) -> None:
        """This launch is over."""
        self._remember(intent)
        if (bill := Bill.of(intent)) is not None:
            self._count(bill, 1.0)
        self._prune()

    def reopen(self, name: str) -> Bill | None:
        """A launch that seemed to be over goes on: what it was billed for until then."""
        if (bill := self._bills.pop(name, None)) is not None:
            self._count(bill, -1.0)
            self._recent = [intent for intent in self._recent if intent.name != name]
            self._spent.clear()
        return bill

    def say(self, event: Event) -> None:
        """Something was said."""
        self._events.append(event)

    def bill(self, name: str) -> Bill | None:
        """What a launch was billed for that ended this month."""
        return self._bills.get(name)

    def recent(self) -> list[Intent]:
        """The newest launches that are over."""
        return list(self._recent)

    def last_ended(self, node_type: str) -> list[Intent]:
        """The launches of a node type that ended last, in the order of their end."""
        return list(self._of_type.get(node_type, ()))

    def bought_at_cloud(self, cloud: str) -> list[Intent]:
        """The latest launches that were bought there and are over."""
        return list(self._of_cloud.get(cloud, ()))

    def events(self) -> list[dict[str, Any]]:
        """The newest sentences, oldest of them first: at (unix seconds), name, sentence."""
        return [asdict(event) for event in self._events]

    def spent_usd(self, since: float) -> dict[str, float]:
        """What launches that are over have cost from `since` on, by cloud, in USD; this month's only."""
        if since not in self._spent:
            spent: dict[str, float] = {}
            for bill in self._bills.values():
                spent[bill.cloud] = spent.get(bill.cloud, 0.0) + bill.usd_since(since)
            self._spent = {s: usd for s, usd in self._spent.items() if s >= month_start(self._clock())}
            self._spent[since] = spent
        return self._spent[since]

    def billed_s(self) -> dict[tuple[str, str], float]:
        """Seconds billed for launches that are over, by (cloud, node type)."""
        return self._billed_s

    def _remember(self, intent: Intent) -> None:
        self._recent = sorted((*self._recent, intent), key=lambda i: i.wanted_at)[-_RECENT:]
        self._of_type.setdefault(intent.node_type, deque(maxlen=_OF_A_TYPE)).append(intent)
        if intent.cloud is not None and intent.bought_at is not None and not intent.stray:
            self._of_cloud.setdefault(intent.cloud, deque(maxlen=_OF_A_CLOUD)).append(intent)
        if (bill := Bill.of(intent)) is not None:
            self._bills[intent.name] = bill
            for since, spent in self._spent.items():
                spent[bill.cloud] = spent.get(bill.cloud, 0.0) + bill.usd_since(since)

    def _count(self, bill: Bill, sign: float) -> None:
        key, seconds = (bill.cloud, bill.node_type), max(0.0, bill.ended_at - bill.bought_at)
        self._billed_s[key] = self._billed_s.get(key, 0.0) + sign * seconds

    def _prune(self) -> None:
        """Forget the bills of earlier months, now and then."""
        begun = month_start(self._clock())
        oldest: Iterable[Bill] = iter(self._bills.values())
        if (first := next(iter(oldest), None)) is not None and first.ended_at < begun:
            self._bills = {name: bill for name, bill in self._bills.items() if bill.ended_at >= begun}
