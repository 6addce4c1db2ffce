"""What is left alone for a while, and why: offers and machines that failed, clouds that refuse. No I/O, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoscaler.types import Intent, Offer

_LONGEST_REST_S = 3600.0
Key = tuple[str, ...]
# (cloud, offer id)
OfferKey = tuple[str, str]


@dataclass(frozen=True)
class Hold:
    """Until when (unix seconds), and why."""

    until: float
    reason: str


class Holds:
    """Holds by what they concern. What fails again while its last failure is remembered rests twice as long."""

    def __init__(self) -> None:
        self._holds: dict[Key, Hold] = {}
        self._failures: dict[Key, tuple[int, float]] = {}

    def rest(self, offer: OfferKey, machine_id: str | None, now: float, rest_s: float, reason: str) -> float:
        """Leave the offer alone, and its machine where it is known; returns for how many seconds."""
        keys: list[Key] = [("offer", *offer)]
        if machine_id is not None:
            keys.append(("machine", offer[0], machine_id))
        seconds = max(self._doubled(key, now, rest_s) for key in keys)
        for key in keys:
            self._holds[key] = Hold(now + seconds, reason)
        return seconds

    def stop(self, cloud: str, now: float, seconds: float, reason: str) -> None:
        """Buy nothing from this cloud for so long; a longer hold stays."""
        until = max(now + seconds, self._holds.get(("cloud", cloud), Hold(0.0, "")).until)
        self._holds["cloud", cloud] = Hold(until, reason)

    def cloud(self, cloud: str, now: float) -> str:
        """Why nothing is bought from the cloud now, or ""."""
        return self._why(("cloud", cloud), now)

    def offer(self, offer: Offer, now: float) -> str:
        """Why this offer or its machine is left alone now, or ""."""
        machine = self._why(("machine", offer.cloud, offer.machine_id), now) if offer.machine_id else ""
        return self._why(("offer", offer.cloud, offer.offer_id), now) or machine

    def view(self, now: float) -> list[dict[str, Any]]:
        """All that hold now, JSON-able: what, until (unix seconds), reason."""
        holds = sorted(self._holds.items())
        return [{"what": " ".join(k), "until": h.until, "reason": h.reason} for k, h in holds if h.until > now]

    def _why(self, key: Key, now: float) -> str:
        hold = self._holds.get(key)
        if hold is None or hold.until <= now:
            return ""
        return f"not used for another {hold.until - now:.0f} s: {hold.reason}"

    def _doubled(self, key: Key, now: float, rest_s: float) -> float:
        count, last = self._failures.get(key, (0, now))
        count = count + 1 if now - last <= 4 * rest_s * 2.0**count else 1
        self._failures[key] = (count, now)
        return min(max(rest_s, _LONGEST_REST_S), rest_s * 2.0 ** min(count - 1, 12))


@dataclass(frozen=True)
class Breaker:
    """When a node type's launches keep failing: after `failures` in a row nothing is bought for `pause_s`, doubling."""

    failures: int = 3
    pause_s: float = 120.0
    longest_pause_s: float = 1800.0

    def trip(self, over: Sequence[Intent]) -> Hold | None:
        """`over`: the node type's latest launches that ended, in the order of their end. None: go on buying."""
        row: list[Intent] = []
        for intent in reversed(over):
            if intent.joined_at is not None:
                break
            if intent.broken:
                row.append(intent)
        if len(row) < self.failures:
            return None
        pause_s = min(self.longest_pause_s, self.pause_s * 2.0 ** min(len(row) - self.failures, 12))
        why = f"its last {len(row)} machines never joined ({row[0].reason})"
        return Hold((row[0].ended_at or 0.0) + pause_s, why)
