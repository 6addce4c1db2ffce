"""What moves analyses on, as the dispatcher sees it: claims under leases, completions that count once, retries."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pipelines.media.sampling import Segment
from serve_apps.analyses import Lane, SegmentState
from serve_apps.store.analysis_store import Analysis

# For each media item its segments, by the lane that they run on.
Plan = Sequence[Mapping[Lane, Sequence[Segment]]]


class SegmentKey(NamedTuple):
    """Names one segment of one media item of one analysis. Segments of different lanes are planned apart."""

    analysis_id: str
    media_index: int
    segment_index: int
    lane: Lane = Lane.GPU


@dataclass(frozen=True)
class ClaimedSegment:
    """A segment to run now. Times are seconds of its media; `info` is its media's `MediaInfo` as a dict.

    `analyzers` and their `options` are the whole analysis's, those of other lanes too.
    """

    key: SegmentKey
    media_uri: str
    info: dict[str, Any]
    analyzers: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    start_s: float
    end_s: float
    last: bool
    attempts: int
    traceparent: str = ""

    @property
    def analysis_id(self) -> str:
        return self.key.analysis_id

    @property
    def media_index(self) -> int:
        return self.key.media_index

    @property
    def segment_index(self) -> int:
        return self.key.segment_index


class Queue(Protocol):
    """The dispatcher's side of the database. Every call is one transaction; `lease_s` and media are in seconds.

    A claim is exclusive until its lease ends; then anybody may claim again. What a claimer does must bear being
    done twice.
    """

    def claim_unplanned(
        self, owner: str, limit: int, lease_s: float, busy_keys: Sequence[str] = ()
    ) -> Sequence[Analysis]:
        """At most `limit` new analyses whose media are to be read and cut; by priority, then oldest first.

        None of `busy_keys` (ids of API keys, "" for the deployment's own token). One that was claimed five times and
        neither planned nor let go of fails: its planners did not survive it.
        """
        ...

    def renew_plans(self, owner: str, ids: Sequence[str], lease_s: float) -> None:
        """Prolong the leases of analyses that are being planned."""
        ...

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        """Write all segments (a header and segments for each media item). False, and nothing, if it was done before.

        A header {"uri", "error"} is of an item that cannot be read: the others go on; where there are none, it fails.
        A header that the analysis has already, from an earlier try, comes with no segments.
        """
        ...

    def plan_later(self, analysis_id: str, owner: str, error: str) -> bool:
        """Media cannot be had for now: let go of it for a while. False if that has lasted for too long already."""
        ...

    def claim_segments(self, owner: str, lane: Lane, limit: int, lease_s: float) -> Sequence[ClaimedSegment]:
        """At most `limit` segments of the lane, those of the highest priority and the oldest analysis first."""
        ...

    def renew(self, owner: str, keys: Sequence[SegmentKey], lease_s: float) -> set[SegmentKey]:
        """Prolong leases; returns those that are still the owner's (the others were cancelled, or came too late)."""
        ...

    def first_frame(self, key: SegmentKey, owner: str, instance: str) -> bool:
        """A worker has begun just now. False if the lease is not the owner's any more."""
        ...

    def complete_segment(
        self, key: SegmentKey, owner: str, report: Mapping[str, Any], instance: str, busy_s: float
    ) -> bool:
        """It is done; `report` is a `SegmentReport` as a dict. False, and nothing counts, if it had ended before."""
        ...

    def fail_segment(
        self, key: SegmentKey, owner: str, error: str, retryable: bool, outage: bool = False
    ) -> SegmentState | None:
        """An attempt failed; where the segment goes. None if the lease is not the owner's any more.

        `outage`: neither the segment nor its worker is to blame, but storage, a database, or where its media lie: that
        is waited for.
        """
        ...

    def release(self, owner: str) -> int:
        """Hand back everything claimed, at a clean stop; returns how much."""
        ...

    def pending_media_s(self, lane: Lane, most_of_one_s: float = math.inf) -> float:
        """Seconds of media in all the lane's segments that have not ended, claimed ones too; of each analysis at most
        `most_of_one_s`."""
        ...
