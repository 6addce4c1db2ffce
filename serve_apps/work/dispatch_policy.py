"""How much runs at once, and how many workers that is worth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from serve_apps.analyses import Lane

# Segments that a worker is given beyond those it works on: when one is done, the next need not be claimed, signed and
# sent over the internet first. With short clips that is a good part of the time.
GIVEN_AHEAD = 1


@dataclass(frozen=True)
class AnalysisLimits:
    """What one analysis may be: seconds of each media item, segments in all, and workers that it alone is worth."""

    media_s: float = 86_400.0
    segments: int = 20_000
    workers: int = 8


@dataclass(frozen=True)
class DispatchPolicy:
    """How much runs at once, and how long a silent dispatcher keeps its claims.

    `segments_per_worker`: how many segments a worker of each lane works on; it is given GIVEN_AHEAD more.
    `access_s`: how long a worker may read the media and write the parts that it was given; what fails later than that
    is tried again. `poll_s`: between two looks while there is work; `idle_poll_s`: while there is none. What is asked
    for here wakes it at once: only what another process has stored, or left, waits for the next look.
    """

    storage_uri: str
    max_workers: Mapping[Lane, int]
    segments_per_worker: Mapping[Lane, int]
    segment_s: float = 60.0
    media_s_per_worker: float = 300.0
    lease_s: float = 15.0
    access_s: float = 3600.0
    poll_s: float = 1.0
    idle_poll_s: float = 5.0
    limits: AnalysisLimits = AnalysisLimits()

    def given_at_once(self, lane: Lane, workers: int) -> int:
        """How many segments so many workers of a lane are given."""
        return workers * (self.segments_per_worker[lane] + GIVEN_AHEAD)


def wanted_workers(pending_media_s: float, lane: Lane, policy: DispatchPolicy) -> int:
    """How many workers the waiting seconds of media are worth: another one only when it has enough to do."""
    if pending_media_s <= 0:
        return 0
    return min(policy.max_workers.get(lane, 0), math.ceil(pending_media_s / policy.media_s_per_worker))
