"""What is counted while machines are bought and ended. Whoever shows the numbers gives a `Measures` of its own."""

import re

from autoscaler.errors import (
    ApiRetired,
    BalanceTooLow,
    CloudError,
    KeyRefused,
    ListingFailed,
    NoCapacity,
    OutcomeUnknown,
    QuotaExceeded,
    RateLimited,
    RequestRefused,
)
from autoscaler.types import Intent

OUTCOMES = ("ended", "broken", "unused")


class Measures:
    """Told of everything as it happens. This one keeps nothing."""

    def booted(self, cloud: str, phase: str, seconds: float) -> None:
        """A machine has reached a boot phase, so many seconds after the phase before."""

    def joined(self, cloud: str, seconds: float) -> None:
        """A machine has become a Ray node, so many seconds after it was wanted."""

    def launch_ended(self, cloud: str, outcome: str) -> None:
        """A launch is over, with one of OUTCOMES: after it had joined, by its machine's fault, or without a use."""

    def cloud_failed(self, cloud: str, cause: str) -> None:
        """A call to a cloud failed, or a row of its answer is odd; `cause` is one of CAUSES."""

    def ticked(self, at: float) -> None:
        """A round of the reconciler ended well, at `at` (unix seconds)."""


def _word(kind: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


# The more special ones first.
_KINDS: tuple[type[Exception], ...] = (
    RequestRefused,
    NoCapacity,
    OutcomeUnknown,
    ListingFailed,
    RateLimited,
    KeyRefused,
    BalanceTooLow,
    QuotaExceeded,
    ApiRetired,
    CloudError,
)
# What a good answer can contain: rows that cannot be read, and machines in a status that AIMA does not know.
ODDITIES = ("unreadable_row", "unknown_status")
CAUSES = ("timeout", *(_word(kind) for kind in _KINDS), "defect", *ODDITIES)


def cause_of(error: Exception) -> str:
    """The error as one of CAUSES: "timeout", an error of errors.py such as "no_capacity", or "defect" of ours."""
    if isinstance(error, TimeoutError):
        return "timeout"
    return next((_word(kind) for kind in _KINDS if isinstance(error, kind)), "defect")


def tell(measures: Measures, before: Intent, after: Intent) -> None:
    """Tell of the boot phases that this change of a launch has brought."""
    cloud = after.cloud
    if cloud is None:
        return
    if before.bought_at is None and after.bought_at is not None:
        measures.booted(cloud, "bought", max(0.0, after.bought_at - after.wanted_at))
    if before.joined_at is None and after.joined_at is not None:
        measures.joined(cloud, after.joined_at - after.wanted_at)
        reached = after.bought_at or after.wanted_at
        for phase, at in sorted(after.phases.items(), key=lambda item: item[1]):
            measures.booted(cloud, phase, max(0.0, at - reached))
            reached = max(reached, at)
    loaded = "model loaded"
    if after.joined_at is not None and loaded in after.phases and loaded not in before.phases:
        measures.booted(cloud, loaded, max(0.0, after.phases[loaded] - after.joined_at))


def outcome(intent: Intent) -> str:
    """How a launch ended."""
    if intent.broken:
        return "broken"
    return "ended" if intent.joined_at is not None else "unused"
