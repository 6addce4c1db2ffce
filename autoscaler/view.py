"""The fleet as people and the service see it: plain values, ready for JSON."""

from typing import Any

from autoscaler.types import Intent, IntentState


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
        "ended_at": intent.ended_at,
        "price_usd_per_hour": intent.price_usd_per_hour,
        "usual_boot_s": intent.usual_boot_s,
        "boot_s": None if intent.joined_at is None else round(intent.joined_at - intent.wanted_at, 3),
        "billed_s": round(intent.billed_s(now), 3),
        "cost_usd": round(intent.cost_usd(now), 6),
        "reason": intent.reason,
    }


def _phase(intent: Intent, busy_with: str) -> str:
    if intent.state is IntentState.BOUGHT:
        if intent.joined_at is None:
            return "its machine boots and joins"
        return f"a Ray node: {busy_with}" if busy_with else "a Ray node"
    return {
        IntentState.WANTED: intent.reason or "looking for an offer",
        IntentState.BUYING: f"buying one from {intent.cloud}",
        IntentState.ENDING: f"ending: {intent.reason}",
        IntentState.ENDED: f"gone: {intent.reason}",
        IntentState.FAILED: f"never came: {intent.reason}",
    }[intent.state]
