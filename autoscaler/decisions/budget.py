"""May we buy, and what must stop. Pure: limits and what is spent come in as values, in USD and USD per hour.

Per hour: a rate. The prices of all that is or may be billed are added up before a purchase, so that no hour can cost
more. If they exceed the limit later, since it was lowered or a price has changed, the newest machines end.
Per day and month (UTC): a sum. A purchase has to leave room for what everything will cost during the next minutes.
Before a limit is reached, work in flight may end within it (`drains`); whatever runs beyond it ends at once
(`overspent`). Without `drain`, limits only forbid purchases.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from autoscaler.types import DRAINING, Instance, Intent, IntentState

ALL = "all clouds"
# By so much a listed price may exceed the accepted one, as in Policy.price_tolerance: it is no reason to end work.
_RATE_TOLERANCE = 0.02
_STAYING = (IntentState.BUYING, IntentState.BOUGHT)


@dataclass(frozen=True)
class Budget:
    """Limits in USD, None for none, and what they do.

    `warn_at`: the share of each at which it warns. `drain`: whether a limit that is reached also ends what runs; if
    not, it only forbids purchases. `commitment_s`: how long a purchase is taken to run at least; `ending_s`: how long
    ending takes, the work that may still be done there included.
    """

    per_hour_usd: float | None = None
    per_day_usd: float | None = None
    per_month_usd: float | None = None
    warn_at: float = 0.8
    drain: bool = True
    commitment_s: float = 600.0
    ending_s: float = 180.0

    @property
    def ahead_s(self) -> float:
        """For how long a purchase has to leave room: what drains as soon as it is bought would be bought in vain."""
        return max(self.commitment_s, 2 * self.ending_s) if self.drain else self.commitment_s

    @property
    def consequence(self) -> str:
        """What reaching a limit does, for people."""
        if not self.drain:
            return "at a limit nothing more is bought, and what runs goes on and costs more (budgets.drain: false)"
        return "at a limit nothing more is bought, work in flight may end within it, and what runs beyond it is ended"


@dataclass(frozen=True)
class Budgets:
    """One budget for everything together and one for each cloud that has its own."""

    total: Budget = Budget()
    clouds: Mapping[str, Budget] = field(default_factory=dict)

    def scopes(self, cloud: str | None = None) -> Iterator[tuple[str, Budget]]:
        """What limits a purchase from `cloud`; without one, every budget there is."""
        yield ALL, self.total
        yield from ((name, budget) for name, budget in self.clouds.items() if cloud in (None, name))


@dataclass(frozen=True)
class Spending:
    """What one scope costs: per hour now, and so far today and this month (UTC)."""

    burn_usd_per_hour: float = 0.0
    day_usd: float = 0.0
    month_usd: float = 0.0


Spendings = Mapping[str, Spending]


def refusal(
    budgets: Budgets, spent: Spendings, cloud: str, price_usd_per_hour: float, transfer_usd: float = 0.0
) -> str:
    """Why a machine of this price may not be bought from `cloud` now, or "". `transfer_usd`: what it costs once."""
    for scope, budget in budgets.scopes(cloud):
        now = spent.get(scope, Spending())
        burn = now.burn_usd_per_hour + price_usd_per_hour
        ahead_usd = burn * budget.ahead_s / 3600 + transfer_usd
        for window, limit, value in _windows(
            budget, burn + transfer_usd, now.day_usd + ahead_usd, now.month_usd + ahead_usd
        ):
            if value > limit:
                room = f"leaves no room for a machine at {price_usd_per_hour:g} USD/h"
                return f"the budget of {limit:g} USD per {window} for {scope} {room}"
    return ""


def warnings(budgets: Budgets, spent: Spendings) -> list[str]:
    """A sentence for each limit that is nearly or wholly used up."""
    found = []
    for scope, budget in budgets.scopes():
        now = spent.get(scope, Spending())
        for window, limit, value in _windows(budget, now.burn_usd_per_hour, now.day_usd, now.month_usd):
            if value > 0 and value >= limit * budget.warn_at:
                used = f"{value:.2f} of the {limit:g} USD per {window} for {scope} are used"
                found.append(f"{used}; {budget.consequence}")
    return found


def drains(budgets: Budgets, spent: Spendings) -> dict[str, str]:
    """Which clouds (or ALL) must let everything end, and why: what runs there would soon overspend a day or month."""
    found = {}
    for scope, budget in budgets.scopes():
        now = spent.get(scope, Spending())
        if not budget.drain or now.burn_usd_per_hour <= 0:
            continue
        ahead_usd = now.burn_usd_per_hour * budget.ending_s / 3600
        for window, limit, value in _windows(budget, 0.0, now.day_usd + ahead_usd, now.month_usd + ahead_usd):
            if window != "hour" and value >= limit:
                found[scope] = f"the budget of {limit:g} USD per {window} for {scope} is used up"
    return found


def overspent(budgets: Budgets, spent: Spendings) -> dict[str, str]:
    """Which clouds (or ALL) must end everything at once, and why: their day or month has cost its limit already."""
    found = {}
    for scope, budget in budgets.scopes():
        now = spent.get(scope, Spending())
        for window, limit, value in _windows(budget, 0.0, now.day_usd, now.month_usd):
            if budget.drain and now.burn_usd_per_hour > 0 and window != "hour" and value >= limit:
                found[scope] = f"the budget of {limit:g} USD per {window} for {scope} is spent"
    return found


def too_many(budgets: Budgets, intents: Iterable[Intent]) -> dict[str, str]:
    """Which launches must end, and why, since all that stay cost more an hour than a limit allows.

    Those that have not joined go first, then the newest: they have the least work to lose.
    """
    staying = [i for i in intents if i.cloud is not None and i.state in _STAYING and DRAINING not in i.phases]
    found: dict[str, str] = {}
    for scope, budget in budgets.scopes():
        if budget.per_hour_usd is None or not budget.drain:
            continue
        mine = [i for i in staying if scope in (ALL, i.cloud) and i.name not in found]
        over = sum(map(counted_usd_per_hour, mine)) - budget.per_hour_usd * (1 + _RATE_TOLERANCE)
        for intent in sorted(mine, key=lambda i: (i.joined_at is not None, -(i.bought_at or i.wanted_at), i.name)):
            if over > 0 and intent.state is IntentState.BOUGHT:
                over -= counted_usd_per_hour(intent)
                found[intent.name] = f"all machines of {scope} cost more than {budget.per_hour_usd:g} USD per hour"
    return found


def burn_usd_per_hour(intents: Iterable[Intent], listed: Mapping[str, Iterable[Instance]]) -> dict[str, float]:
    """USD per hour by cloud of all that is or may be billed.

    That is what clouds list, whoever claims it, and every purchase that is not listed yet or cannot be seen, each at
    the dearest price that is known of it. `listed` holds each cloud's last good list.
    """
    live = [intent for intent in intents if intent.live and intent.cloud is not None]
    claims = {(i.cloud, i.name): i for i in live} | {(i.cloud, i.instance_id): i for i in live if i.instance_id}
    prices: dict[tuple[str, str], float] = {}
    seen: set[tuple[str | None, str | None]] = set()
    for cloud, instances in listed.items():
        for instance in instances:
            keys = {(cloud, instance.instance_id), (cloud, instance.name)}
            known = [claims[key] for key in keys if key in claims]
            prices[cloud, instance.instance_id] = _counted(instance, known) if known else _unclaimed(instance, live)
            seen |= keys
    for intent in live:
        if not {(intent.cloud, intent.instance_id), (intent.cloud, intent.name)} & seen:
            prices[intent.cloud or "", f"intent {intent.name}"] = counted_usd_per_hour(intent)
    burn: dict[str, float] = {}
    for (cloud, _id), price in prices.items():
        burn[cloud] = burn.get(cloud, 0.0) + price
    return burn


def dearest(*prices: float | None) -> float:
    """The highest of the prices that are told, 0 without any: null, negative or no number at all is none."""
    return max((price for price in prices if price is not None and math.isfinite(price) and price > 0), default=0.0)


def counted_usd_per_hour(intent: Intent, listed: Instance | None = None) -> float:
    """The price at which a launch counts: the dearest of accepted, last known and listed."""
    told = None if listed is None else listed.price_usd_per_hour
    return dearest(intent.accepted_usd_per_hour, intent.price_usd_per_hour, told)


def _counted(instance: Instance, claims: Iterable[Intent]) -> float:
    return max(counted_usd_per_hour(intent, instance) for intent in claims)


def _unclaimed(instance: Instance, live: Iterable[Intent]) -> float:
    """What nobody claims and no price is told of costs as much as the dearest that is known of its cloud."""
    others = [counted_usd_per_hour(intent) for intent in live if intent.cloud == instance.cloud]
    return dearest(instance.price_usd_per_hour) or max(others, default=0.0)


def spendings(burn: Mapping[str, float], day: Mapping[str, float], month: Mapping[str, float]) -> dict[str, Spending]:
    """What is known by cloud, as scopes: each cloud's own, and all together."""
    clouds = {*burn, *day, *month}
    found = {c: Spending(burn.get(c, 0.0), day.get(c, 0.0), month.get(c, 0.0)) for c in clouds}
    found[ALL] = Spending(sum(burn.values()), sum(day.values()), sum(month.values()))
    return found


def day_start(now: float) -> float:
    """Unix seconds of the last midnight, UTC."""
    return now - now % 86400.0


def month_start(now: float) -> float:
    """Unix seconds at which the month began, UTC."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def _windows(budget: Budget, hour: float, day: float, month: float) -> Iterator[tuple[str, float, float]]:
    """(window, limit, value) for each limit that is set."""
    limits = (
        ("hour", budget.per_hour_usd, hour),
        ("day", budget.per_day_usd, day),
        ("month", budget.per_month_usd, month),
    )
    return ((window, limit, value) for window, limit, value in limits if limit is not None)
