"""The fleet as people and the service see it: plain values, ready for JSON."""

from dataclasses import asdict
from typing import Any

from autoscaler.decisions.budget import Budgets, Spendings, warnings
from autoscaler.types import DRAINING, Intent, IntentState


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


def spending_view(budgets: Budgets, spendings: Spendings) -> dict[str, Any]:
    """What each cloud and all together cost: USD per hour now, USD today and this month (UTC), limits, warnings."""
    return {
        "scopes": {scope: {k: round(v, 6) for k, v in asdict(s).items()} for scope, s in spendings.items()},
        "limits": {
            scope: {
                "per_hour_usd": budget.per_hour_usd,
                "per_day_usd": budget.per_day_usd,
                "per_month_usd": budget.per_month_usd,
            }
            for scope, budget in budgets.scopes()
        },
        "at_a_limit": budgets.total.consequence,
        "warnings": warnings(budgets, spendings),
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
