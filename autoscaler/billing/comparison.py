"""The ledger against a cloud's own bill, machine by machine. Pure: bills, launches and the time come in as values.

A bill may be late, so a machine whose bill is still too low is judged only once its end is `settled_s` ago; one that is
billed too high is judged at once. What the bill has and the ledger has not is a leak if it carries a name of ours, and
somebody else's otherwise: RunPod's bill tells no names.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autoscaler.types import Intent

# No machine that AIMA buys costs more in a month: such a number is a mistake of its row.
_MOST_USD = 1_000_000.0
# Bills are rounded to a tenth of a cent, day by day and part by part.
_ROUNDED_USD = 0.005


@dataclass(frozen=True)
class Bill:
    """What a cloud has billed by machine, in USD. `names`: by machine, where the bill tells one.

    `skipped`: rows that could not be read; `example` is the first of them.
    """

    usd: Mapping[str, float]
    names: Mapping[str, str] = field(default_factory=dict)
    skipped: int = 0
    example: str = ""


@dataclass(frozen=True)
class Bounds:
    """From which difference on it is worth a warning: the larger of a sum and a share of what the ledger has.

    `settled_s`: how long after a machine's end its bill may still grow.
    """

    warn_usd: float = 1.0
    warn_share: float = 0.05
    settled_s: float = 2 * 86_400.0


class Verdict(StrEnum):
    """What the comparison says of a machine."""

    AGREES = "agrees"
    PENDING = "not billed in full yet"
    TOO_HIGH = "billed higher than the ledger"
    TOO_LOW = "billed lower than the ledger"
    UNKNOWN = "billed, and unknown to the ledger"


@dataclass(frozen=True)
class BilledMachine:
    """One machine on both sides, in USD; `billed_usd` None: the bill does not have it."""

    cloud: str
    instance_id: str
    name: str
    ledger_usd: float
    billed_usd: float | None
    verdict: Verdict

    @property
    def difference_usd(self) -> float:
        """By how much the cloud has billed more than the ledger says; 0 while that cannot be said."""
        return 0.0 if self.verdict is Verdict.PENDING else (self.billed_usd or 0.0) - self.ledger_usd


@dataclass(frozen=True)
class Comparison:
    """All machines of one cloud. `others_usd`: what the bill has for machines that are not ours."""

    cloud: str
    machines: tuple[BilledMachine, ...]
    others_usd: float
    bounds: Bounds

    @property
    def ledger_usd(self) -> float:
        """What the ledger says of the machines that can be judged."""
        return sum(m.ledger_usd for m in self.machines if m.verdict is not Verdict.PENDING)

    @property
    def billed_usd(self) -> float:
        """What the cloud has billed for them."""
        return sum(m.billed_usd or 0.0 for m in self.machines if m.verdict is not Verdict.PENDING)

    @property
    def difference_usd(self) -> float:
        """All differences added up, whatever their direction: a mistake does not make up for another."""
        return sum(abs(m.difference_usd) for m in self.machines)

    @property
    def exceeds(self) -> bool:
        """Whether the difference is worth a warning."""
        return self.difference_usd > max(self.bounds.warn_usd, self.bounds.warn_share * self.ledger_usd)


def amount_usd(value: object) -> float | None:
    """An amount of a bill, also as text and also a credit; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        usd = float(value)
    except (ValueError, OverflowError):
        return None
    return usd if math.isfinite(usd) and abs(usd) < _MOST_USD else None


def compare(
    cloud: str, launches: Iterable[Intent], bill: Bill, is_ours: Callable[[str], bool], now: float, bounds: Bounds
) -> Comparison:
    """Hold a bill against the launches that were bought in its time. A launch and its machine's later stray are one.

    `is_ours`: whether this cluster gave a machine its name.
    """
    ours: dict[str, list[Intent]] = {}
    for intent in launches:
        if intent.cloud == cloud and intent.instance_id and intent.bought_at is not None:
            ours.setdefault(intent.instance_id, []).append(intent)
    machines = [_machine(cloud, key, intents, bill.usd.get(key), now, bounds) for key, intents in ours.items()]
    leaked = {key for key in bill.usd.keys() - ours.keys() if is_ours(bill.names.get(key, ""))}
    machines += [
        BilledMachine(cloud, key, bill.names[key], 0.0, bill.usd[key], Verdict.UNKNOWN) for key in sorted(leaked)
    ]
    others = sum(usd for key, usd in bill.usd.items() if key not in ours and key not in leaked)
    return Comparison(cloud, tuple(machines), others, bounds)


def _machine(
    cloud: str, instance_id: str, intents: list[Intent], billed: float | None, now: float, bounds: Bounds
) -> BilledMachine:
    ledger = sum(intent.cost_usd(now) for intent in intents)
    ended = [intent.ended_at for intent in intents]
    settled = all(at is not None and now - at >= bounds.settled_s for at in ended)
    verdict = _verdict(ledger, billed or 0.0, settled, bounds)
    return BilledMachine(cloud, instance_id, intents[0].name, ledger, billed, verdict)


def _verdict(ledger: float, billed: float, settled: bool, bounds: Bounds) -> Verdict:
    tolerated = max(_ROUNDED_USD, bounds.warn_share * ledger)
    if billed > ledger + tolerated:
        return Verdict.TOO_HIGH
    if billed < ledger - tolerated:
        return Verdict.TOO_LOW if settled else Verdict.PENDING
    return Verdict.AGREES
