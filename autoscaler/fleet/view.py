"""The fleet as people and the service see it: plain values, ready for JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from autoscaler.decisions import budget
from autoscaler.decisions.budget import Budgets, Spendings, warnings
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.node_activity import Activities
from autoscaler.fleet.watch import Watch
from autoscaler.types import DRAINING, Intent, IntentState, NodeType


def fleet_view(
    launches: Launches, watch: Watch, activities: Activities, budgets: Budgets, node_types: Iterable[NodeType]
) -> dict[str, Any]:
    """All that lives and the latest launches, money, what is in trouble, and the latest events."""
    now, trouble = launches.clock(), launches.trouble()
    boots = (launches.usual_boot_s(cloud) for cloud in watch.providers)
    return {
        "instances": [instance_view(i, now, activities.busy_with(i.name)) for i in launches.newest()],
        "clouds": sorted({cloud for node_type in node_types for cloud in node_type.clouds}),
        "usual_boot_s": next((usual for usual in boots if usual is not None), None),
        "degraded": watch.degraded() | ({"ledger": trouble} if trouble else {}),
        "ledger": {"trouble": trouble, "unwritten": launches.unwritten()},
        "holds": watch.holds.view(now),
        "spending": spending_view(budgets, spendings(launches, watch)),
        "events": launches.events(),
    }


def spendings(launches: Launches, watch: Watch) -> Spendings:
    """What everything costs now, today and this month, by cloud and in all."""
    now = launches.clock()
    burn = budget.burn_usd_per_hour(launches.live(), watch.last_good())
    day = launches.spent_usd(budget.day_start(now))
    return budget.spendings(burn, day, launches.spent_usd(budget.month_start(now)))


def instance_view(intent: Intent, now: float, busy_with: str = "") -> dict[str, Any]:
    """One launch. Times in unix seconds, money in USD; `busy_with` is why Ray calls its node busy."""
    return {
        "name": intent.name,
        "node_type": intent.node_type,
        "cloud": intent.cloud,
        "state": intent.state.value,
        "phase": _phase(intent, busy_with),
        "joined": intent.joined_at is not None,
        "wanted_at": intent.wanted_at,
        "bought_at": intent.bought_at,
        "ended_at": intent.ended_at,
        "ending_s": None if intent.ending_at is None else round((intent.ended_at or now) - intent.ending_at, 3),
        "price_usd_per_hour": intent.price_usd_per_hour,
        "accepted_usd_per_hour": intent.accepted_usd_per_hour,
        "gpu_name": intent.gpu_name,
        "region": intent.region,
        "phases": {name: round(at - intent.wanted_at, 3) for name, at in intent.phases.items()},
        "usual_boot_s": intent.usual_boot_s,
        "boot_s": None if intent.joined_at is None else round(intent.joined_at - intent.wanted_at, 3),
        "billed_s": round(intent.billed_s(now), 3),
        "cost_usd": round(intent.cost_usd(now), 6),
        "reason": intent.reason,
    }


def spending_view(budgets: Budgets, spent: Spendings) -> dict[str, Any]:
    """What each cloud and all together cost: USD per hour now, USD today and this month (UTC), limits, warnings."""
    return {
        "scopes": {scope: {k: round(v, 6) for k, v in asdict(s).items()} for scope, s in spent.items()},
        "limits": {
            scope: {
                "per_hour_usd": limit.per_hour_usd,
                "per_day_usd": limit.per_day_usd,
                "per_month_usd": limit.per_month_usd,
            }
            for scope, limit in budgets.scopes()
        },
        "at_a_limit": budgets.total.consequence,
        "warnings": warnings(budgets, spent),
    }


def _phase(intent: Intent, busy_with: str) -> str:
    if intent.state is IntentState.BOUGHT:
        if intent.joined_at is None:
            latest = max(intent.phases, key=lambda name: intent.phases[name], default="")
            return f"its machine boots and joins{f' (so far: {latest})' if latest else ''}"
        if DRAINING in intent.phases:
            return f"a Ray node that takes no new work{f': {intent.reason}' if intent.reason else ''}"
        loading = "image up" in intent.phases and "model loaded" not in intent.phases
        node = "a Ray node that loads its model" if loading else "a Ray node"
        return f"{node}: {busy_with}" if busy_with else node
    return {
        IntentState.WANTED: f"waits: {intent.reason}" if intent.reason else "looking for an offer",
        IntentState.BUYING: f"buying one from {intent.cloud}",
        IntentState.ENDING: f"ending: {intent.reason}",
        IntentState.ENDED: f"gone: {intent.reason}",
        IntentState.FAILED: f"never came: {intent.reason}",
    }[intent.state]
