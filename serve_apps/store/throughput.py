"""What workers have done of late: how fast they work, how long they take to begin, what is billed beside the work."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from serve_apps.analyses import Lane, SegmentState
from serve_apps.store.tables import analyses, segments

_SAMPLE = 50
# The boot phase that the first frame of a worker ends; announced by the models.
_READY = "model loaded"


@dataclass(frozen=True)
class Work:
    """A segment that was done: `media_s` of media, from `began_at` to `ended_at` (epoch seconds) on `instance`."""

    lane: Lane
    instance: str
    analyzers: frozenset[str]
    media_s: float
    began_at: float
    ended_at: float


@dataclass(frozen=True)
class Habits:
    """Of one lane's workers; None where nothing was measured.

    `speed`: media seconds per second of a worker at work; `segment_speed`: per second of one segment. `ready_s`: from
    the wish for a worker to its first frame. `beside_s`: seconds billed for a worker beside its work, boot and idling.
    """

    speed: float | None = None
    segment_speed: float | None = None
    ready_s: float | None = None
    beside_s: float | None = None


def recent_work(connection: Connection) -> list[Work]:
    """The latest segments of each lane, newest first."""
    return [work for lane in Lane for work in _latest(connection, lane)]


def _latest(connection: Connection, lane: Lane) -> list[Work]:
    s, a = segments.c, analyses.c
    rows = (
        select(s.instance, s.start_s, s.end_s, s.busy_s, s.finished_at, a.analyzers)
        .join(analyses, a.id == s.analysis_id)
        .where(s.state == SegmentState.DONE.value, s.lane == lane.value, s.busy_s > 0, s.instance.is_not(None))
        .order_by(s.finished_at.desc())
        .limit(_SAMPLE)
    )
    return [
        Work(lane, r.instance, frozenset(r.analyzers), r.end_s - r.start_s, r.finished_at - r.busy_s, r.finished_at)
        for r in connection.execute(rows)
    ]


def habits(lane: Lane, work: Sequence[Work], fleet: Mapping[str, Any], analyzers: Iterable[str] = ()) -> Habits:
    """What `lane`'s workers are used to, by the same analyzers where these have run before."""
    mine = [w for w in work if w.lane is lane]
    alike = [w for w in mine if w.analyzers == frozenset(analyzers)] or mine
    instances = {i["name"]: i for i in fleet.get("instances", ())}
    ready_at = {name: at for name, i in instances.items() if (at := _ready_at(i)) is not None}
    media_s, busy_s = sum(w.media_s for w in alike), sum(w.ended_at - w.began_at for w in alike)
    worked_s = sum(_worked_s(alike, ready_at).values())
    at_work = _worked_s(mine, ready_at)
    ended = [i for name in at_work if (i := instances.get(name)) and i.get("ended_at") is not None]
    return Habits(
        speed=media_s / worked_s if worked_s > 0 else None,
        segment_speed=media_s / busy_s if busy_s > 0 else None,
        ready_s=_median([ready_at[name] - instances[name]["wanted_at"] for name in at_work if name in ready_at]),
        beside_s=_median([max(0.0, float(i["billed_s"]) - at_work[i["name"]]) for i in ended]),
    )


def _ready_at(instance: Mapping[str, Any]) -> float | None:
    after_s = instance.get("phases", {}).get(_READY)
    return None if after_s is None else float(instance["wanted_at"]) + float(after_s)


def _worked_s(work: Iterable[Work], ready_at: Mapping[str, float]) -> dict[str, float]:
    """Seconds in which an instance ran at least one segment, by instance; loading the models does not count."""
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for w in work:
        spans[w.instance].append((max(w.began_at, ready_at.get(w.instance, w.began_at)), w.ended_at))
    return {name: _covered_s(found) for name, found in spans.items()}


def _covered_s(spans: Iterable[tuple[float, float]]) -> float:
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
