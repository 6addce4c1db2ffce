"""What an analysis and its segments may be, and what can be told about them. Values in, values out.

Analysis: queued -> running -> succeeded | partial | failed | cancelled   (partial: some media failed, others did not;
          queued -> failed when none of its media can be read;
          partial | failed | cancelled -> queued | running: its user asked for another try)
Segment:  pending <-> leased -> done | failed | cancelled       (leased -> pending: a retry, a handed back or expired
          lease; failed | cancelled -> pending: its user asked for another try)
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_ATTEMPTS = 5
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
# How long an analysis waits for storage or a database that fails, before its attempts count. Each needs a machine.
_OUTAGE_LIMIT_S = 600.0
# Until something has been measured: seconds of media that one running segment analyses per second.
_ASSUMED_SPEED = 2.0
_GONE = ("ended", "failed", "ending")


class AnalysisState(StrEnum):
    """Where a user's request stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SegmentState(StrEnum):
    """Where a segment stands. Leased: claimed by a dispatcher, whether or not a worker has begun."""

    PENDING = "pending"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Lane(StrEnum):
    """Which kind of worker a segment runs on."""

    GPU = "gpu"
    CPU = "cpu"


FINISHED = (AnalysisState.SUCCEEDED, AnalysisState.PARTIAL, AnalysisState.FAILED, AnalysisState.CANCELLED)


@dataclass(frozen=True)
class SegmentGroup:
    """Segments of one analysis that are alike, added up: all that progress, ETA and reasons need.

    `begun`: a worker has decoded a first frame. `first_begun_at` and `not_before` (epoch seconds) are the earliest.
    """

    state: SegmentState
    begun: bool
    count: int
    media_s: float
    frames: int = 0
    busy_s: float = 0.0
    first_begun_at: float | None = None
    not_before: float | None = None
    lane: Lane = Lane.GPU


@dataclass(frozen=True)
class Progress:
    """How far an analysis is. `percent` (0..100) is of the media's seconds."""

    percent: float
    segments_done: int
    segments_total: int
    frames: int


@dataclass(frozen=True)
class Busy:
    """Seconds that an instance worked for an analysis."""

    analysis_id: str
    instance: str
    busy_s: float


def analysis_state(media: Iterable[Collection[SegmentState]]) -> AnalysisState:
    """The state of a planned analysis by the states of each media item's segments; FAILED alone: it cannot be read.

    It ends when all segments have. Media that failed fail it, unless others are whole: then it is partial. Parts that
    are done are kept in any case.
    """
    items = [set(states) for states in media if states]
    found = {state for states in items for state in states}
    if found & {SegmentState.PENDING, SegmentState.LEASED}:
        return AnalysisState.RUNNING
    if SegmentState.CANCELLED in found:
        return AnalysisState.CANCELLED
    failed = sum(SegmentState.FAILED in states for states in items)
    if not failed:
        return AnalysisState.SUCCEEDED
    return AnalysisState.FAILED if failed == len(items) else AnalysisState.PARTIAL


def unreadable(infos: Sequence[Mapping[str, Any]] | None) -> dict[int, str]:
    """The causes by index of those media whose headers could not be read; `infos` are what planning has stored."""
    return {index: str(info["error"]) for index, info in enumerate(infos or ()) if "error" in info}


def after_segment_failure(attempts: int, max_attempts: int, retryable: bool) -> SegmentState:
    """Where a segment goes when its `attempts`-th attempt (counted from 1) has failed."""
    return SegmentState.PENDING if retryable and attempts < max_attempts else SegmentState.FAILED


def retry_at(attempt: int, now: float) -> float:
    """When (epoch seconds) to try again after the `attempt`-th failure: 0.5 s, doubling, at most a minute."""
    return now + min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(max(0, attempt - 1), 30))


def after_outage_at(since: float, now: float) -> float | None:
    """When to try again what has failed for no fault of its own, `since` (epoch seconds) nothing of it has succeeded.

    After half as long again, at most a minute; None when it has lasted for ten minutes.
    """
    lasted_s = now - since
    if lasted_s >= _OUTAGE_LIMIT_S:
        return None
    return now + min(_LONGEST_RETRY_S, max(_FIRST_RETRY_S, lasted_s / 2))


def progress(groups: Sequence[SegmentGroup]) -> Progress:
    """How far an analysis is; nothing is known (all zero) before it is planned."""
    done = [g for g in groups if g.state is SegmentState.DONE]
    total_s = sum(g.media_s for g in groups)
    percent = 100 * sum(g.media_s for g in done) / total_s if total_s else 0.0
    return Progress(
        percent=round(min(100.0, percent), 1),
        segments_done=sum(g.count for g in done),
        segments_total=sum(g.count for g in groups),
        frames=sum(g.frames for g in groups),
    )


def eta_s(
    groups: Sequence[SegmentGroup],
    now: float,
    *,
    slots: int = 1,
    waiting_s: float = 0.0,
    speed: float | None = None,
) -> float | None:
    """Seconds until the last segment ends; None before the analysis is planned, 0 when nothing is left.

    `slots` is how many segments run side by side (workers times segments on each), `waiting_s` how long until the
    first worker can begin, `speed` the media seconds per second that one slot made before; the analysis's own
    measurement replaces it as soon as a segment is done.
    """
    if not groups:
        return None
    left = [g for g in groups if g.state in (SegmentState.PENDING, SegmentState.LEASED)]
    if not left:
        return 0.0
    pace = _speed(groups) or speed or _ASSUMED_SPEED
    seconds = sum(_work_left_s(g, pace, now) for g in left)
    side_by_side = max(1, min(slots, sum(g.count for g in left)))
    return round(waiting_s + seconds / side_by_side, 1)


def _speed(groups: Iterable[SegmentGroup]) -> float | None:
    done = [g for g in groups if g.state is SegmentState.DONE]
    busy_s = sum(g.busy_s for g in done)
    return sum(g.media_s for g in done) / busy_s if busy_s > 0 else None


def _work_left_s(group: SegmentGroup, pace: float, now: float) -> float:
    """Seconds of one slot's work; what has begun is credited, but never taken to be over."""
    work_s = group.media_s / pace
    if not group.begun or group.first_begun_at is None:
        return work_s
    return max(work_s * 0.05, work_s - group.count * max(0.0, now - group.first_begun_at))


def live_instances(fleet: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The fleet's instances that work or will."""
    return [i for i in fleet.get("instances", ()) if i["state"] not in _GONE]


def waiting_reason(
    fleet: Mapping[str, Any],
    state: AnalysisState,
    groups: Sequence[SegmentGroup],
    created_at: float,
    now: float,
    trouble: str = "",
) -> dict[str, Any] | None:
    """Why no worker is on it: {"reason": a sentence, "since_s", "usual_s": seconds or None}; None when one is.

    `fleet` is the orchestrator's view; times are epoch seconds; `trouble` is what keeps it from being planned.
    """
    if state in FINISHED or any(g.begun and g.state is SegmentState.LEASED for g in groups):
        return None
    if state is AnalysisState.QUEUED:
        again = f"; {trouble}: trying again within a minute" if trouble else ""
        return _waiting(f"reading the media's headers{again}", created_at, now)
    if (retry := _next_retry(groups, now)) is not None:
        return _waiting(f"an attempt failed: trying again in {retry - now:.0f} s", created_at, now)
    lane = _lane_awaited(groups)
    live = [i for i in live_instances(fleet) if (i.get("node_type") == Lane.CPU) == (lane is Lane.CPU)]
    if any(i["joined"] for i in live):
        return _waiting_with_worker(groups, created_at, now)
    if live:
        return _waiting_for_instance(fleet, lane, min(live, key=_nearest), now)
    return _waiting_for_offer(fleet, lane, created_at, now)


def _lane_awaited(groups: Sequence[SegmentGroup]) -> Lane:
    """The lane that is said to be waited for: the GPU's while anything of it is left."""
    left = {g.lane for g in groups if g.state in (SegmentState.PENDING, SegmentState.LEASED)}
    return Lane.CPU if left == {Lane.CPU} else Lane.GPU


def _next_retry(groups: Sequence[SegmentGroup], now: float) -> float | None:
    left = [g for g in groups if g.state in (SegmentState.PENDING, SegmentState.LEASED)]
    times = [g.not_before for g in left if g.not_before is not None and g.not_before > now]
    return min(times) if left and len(times) == len(left) else None


def _waiting_with_worker(groups: Sequence[SegmentGroup], created_at: float, now: float) -> dict[str, Any] | None:
    if any(g.state is SegmentState.DONE for g in groups):
        return None  # between two segments
    if any(g.state is SegmentState.LEASED for g in groups):
        return _waiting("a worker is there: it loads its models", created_at, now)
    return _waiting("the workers are busy with earlier analyses", created_at, now)


def _waiting_for_instance(
    fleet: Mapping[str, Any], lane: Lane, instance: Mapping[str, Any], now: float
) -> dict[str, Any]:
    usual_s = instance.get("usual_boot_s") or fleet.get("usual_boot_s")
    cloud = instance.get("cloud") or _clouds(fleet)
    sentence = {
        "bought": f"bought one from {cloud}, {instance['phase']}",
        "buying": f"buying one from {cloud}",
    }.get(instance["state"], f"{instance['phase']} ({cloud})")
    return _waiting(f"no {lane.upper()} worker yet: {sentence}{_usually(usual_s)}", instance["wanted_at"], now, usual_s)


def _waiting_for_offer(fleet: Mapping[str, Any], lane: Lane, created_at: float, now: float) -> dict[str, Any]:
    usual_s = fleet.get("usual_boot_s")
    troubles = "".join(f"; {cloud}: {reason}" for cloud, reason in (fleet.get("degraded") or {}).items())
    sentence = f"no {lane.upper()} worker yet: asking for one from {_clouds(fleet)}{_usually(usual_s)}{troubles}"
    return _waiting(sentence, created_at, now, usual_s)


def _nearest(instance: Mapping[str, Any]) -> tuple[int, float]:
    """Orders instances by how soon they may join."""
    return ("bought", "buying", "wanted").index(instance["state"]), instance["wanted_at"]


def _clouds(fleet: Mapping[str, Any]) -> str:
    return " or ".join(fleet.get("clouds", ())) or "a cloud"


def _usually(usual_s: float | None) -> str:
    return f", usually {usual_s:.0f} s" if usual_s else ""


def _waiting(reason: str, since: float, now: float, usual_s: float | None = None) -> dict[str, Any]:
    return {"reason": reason, "since_s": round(max(0.0, now - since), 1), "usual_s": usual_s}


def boot_left_s(waiting: Mapping[str, Any] | None) -> float:
    """Seconds that a wait, as `waiting_reason` tells it, will usually still last."""
    if waiting is None or waiting["usual_s"] is None:
        return 0.0
    return max(0.0, float(waiting["usual_s"]) - float(waiting["since_s"]))


def attribute_cost(segments: Iterable[Busy], instances: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """USD by analysis: the cost of each instance, its idle time too, shared by the seconds it worked for each.

    What an instance cost before it worked for anybody is nobody's (`segments` must name all analyses on it).
    """
    costs = {i["name"]: float(i["cost_usd"] or 0.0) for i in instances}
    work = [s for s in segments if s.busy_s > 0 and s.instance in costs]
    total_s: defaultdict[str, float] = defaultdict(float)
    for busy in work:
        total_s[busy.instance] += busy.busy_s
    shares: defaultdict[str, float] = defaultdict(float)
    for busy in work:
        shares[busy.analysis_id] += costs[busy.instance] * busy.busy_s / total_s[busy.instance]
    return dict(shares)
