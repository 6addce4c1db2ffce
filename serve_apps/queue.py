"""What moves analyses on: claims under leases, completions that count once, retries. The dispatcher sees `Queue`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select, tuple_, update

from pipelines.sampling import Segment
from serve_apps.analyses import FINISHED, MAX_ATTEMPTS, AnalysisState, SegmentState, after_segment_failure, retry_at
from serve_apps.events import EventKind
from serve_apps.settling import NO_LEASE, finish, settle, update_analysis
from serve_apps.store import Analysis, as_analysis
from serve_apps.tables import analyses, lock_analysis, reading, record_event, segments, writing

_PLANS_AT_ONCE = 4
_OPEN = (SegmentState.PENDING.value, SegmentState.LEASED.value)
_s, _a = segments.c, analyses.c


class SegmentKey(NamedTuple):
    """Names one segment of one media item of one analysis."""

    analysis_id: str
    media_index: int
    segment_index: int


@dataclass(frozen=True)
class ClaimedSegment:
    """A segment to run now. Times are seconds of its media; `info` is its media's `MediaInfo` as a dict."""

    key: SegmentKey
    media_uri: str
    info: dict[str, Any]
    analyzers: tuple[str, ...]
    start_s: float
    end_s: float
    last: bool
    attempts: int

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

    def claim_unplanned(self, owner: str, lease_s: float) -> Sequence[Analysis]:
        """New analyses whose media are to be read and cut, oldest first."""
        ...

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plans: Sequence[Sequence[Segment]]) -> bool:
        """Write all segments (a header and a plan for each media item). False, and nothing, if that was done before."""
        ...

    def fail_analysis(self, analysis_id: str, message: str, media: str | None = None) -> bool:
        """End it; what is done is kept. False if it had ended before."""
        ...

    def claim_segments(self, owner: str, limit: int, lease_s: float) -> Sequence[ClaimedSegment]:
        """At most `limit` segments, those of the oldest analysis first."""
        ...

    def renew(self, owner: str, keys: Sequence[SegmentKey], lease_s: float) -> int:
        """Prolong leases; returns how many are still the owner's."""
        ...

    def first_frame(self, key: SegmentKey, owner: str, at: float, instance: str) -> bool:
        """A worker has begun (epoch seconds). False if the lease is not the owner's any more."""
        ...

    def complete_segment(
        self, key: SegmentKey, owner: str, report: Mapping[str, Any], instance: str, busy_s: float
    ) -> bool:
        """It is done; `report` is a `SegmentReport` as a dict. False, and nothing counts, if it had ended before."""
        ...

    def fail_segment(self, key: SegmentKey, owner: str, error: str, retryable: bool) -> SegmentState | None:
        """An attempt failed; where the segment goes. None if the lease is not the owner's any more."""
        ...

    def release(self, owner: str) -> int:
        """Hand back everything claimed, at a clean stop; returns how much."""
        ...

    def pending_media_s(self) -> float:
        """Seconds of media in all segments that have not ended, claimed ones too."""
        ...


class DatabaseQueue:
    """`Queue` on SQLite (its one write lock) or PostgreSQL (SKIP LOCKED). `Store.create_tables` makes the tables."""

    def __init__(self, engine: Engine, clock: Callable[[], float], max_attempts: int = MAX_ATTEMPTS) -> None:
        self._engine, self._clock, self._max_attempts = engine, clock, max_attempts

    def claim_unplanned(self, owner: str, lease_s: float) -> list[Analysis]:
        now = self._clock()
        free = or_(_a.lease_until.is_(None), _a.lease_until <= now)
        turn = select(analyses).where(_a.state == AnalysisState.QUEUED.value, free)
        turn = turn.order_by(_a.created_at, _a.id).limit(_PLANS_AT_ONCE).with_for_update(skip_locked=True)
        with writing(self._engine) as connection:
            claimed = [as_analysis(row) for row in connection.execute(turn)]
            ids = [analysis.id for analysis in claimed]
            lease = {"lease_owner": owner, "lease_until": now + lease_s}
            connection.execute(update(analyses).where(_a.id.in_(ids)).values(lease))
        return claimed

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plans: Sequence[Sequence[Segment]]) -> bool:
        now = self._clock()
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state != AnalysisState.QUEUED:
                return False
            rows = [_segment_row(row, index, segment) for index, plan in enumerate(plans) for segment in plan]
            connection.execute(segments.insert(), rows)
            running = {"state": AnalysisState.RUNNING.value, "started_at": now, "info": [dict(i) for i in infos]}
            update_analysis(connection, analysis_id, running | NO_LEASE)
            record_event(connection, analysis_id, now, EventKind.PLANNED, {"segments_total": len(rows)})
        return True

    def fail_analysis(self, analysis_id: str, message: str, media: str | None = None) -> bool:
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state in FINISHED:
                return False
            left = and_(_s.analysis_id == analysis_id, _s.state.in_(_OPEN))
            ended = {"state": SegmentState.FAILED.value, "error": message} | NO_LEASE
            connection.execute(update(segments).where(left).values(ended))
            finish(connection, analysis_id, AnalysisState.FAILED, {"message": message, "media": media}, self._clock())
        return True

    def claim_segments(self, owner: str, limit: int, lease_s: float) -> list[ClaimedSegment]:
        now = self._clock()
        rested = or_(_s.not_before.is_(None), _s.not_before <= now)
        pending = and_(_s.state == SegmentState.PENDING.value, rested)
        abandoned = and_(_s.state == SegmentState.LEASED.value, _s.lease_until <= now)
        turn = select(_s.analysis_id, _s.media_index, _s.segment_index).where(or_(pending, abandoned))
        turn = turn.order_by(_s.queued_at, _s.analysis_id, _s.media_index, _s.segment_index).limit(limit)
        lease = {"lease_owner": owner, "lease_until": now + lease_s, "not_before": None, "started_at": None}
        with writing(self._engine) as connection:
            keys = [SegmentKey(*row) for row in connection.execute(turn.with_for_update(skip_locked=True))]
            if not keys:
                return []
            leased = lease | {"state": SegmentState.LEASED.value}
            connection.execute(update(segments).where(_is_one_of(keys)).values(leased))
            return _claimed(connection, keys)

    def renew(self, owner: str, keys: Sequence[SegmentKey], lease_s: float) -> int:
        mine = and_(_is_one_of(keys), _leased_by(owner))
        with writing(self._engine) as connection:
            longer = update(segments).where(mine).values(lease_until=self._clock() + lease_s)
            return connection.execute(longer).rowcount

    def first_frame(self, key: SegmentKey, owner: str, at: float, instance: str) -> bool:
        with writing(self._engine) as connection:
            row = lock_analysis(connection, key.analysis_id)
            if row is None:
                return False
            at = min(max(at, row.created_at), self._clock())  # a worker's clock may be wrong
            begun = update(segments).where(_is(key), _leased_by(owner)).values(started_at=at, instance=instance)
            if connection.execute(begun).rowcount == 0:
                return False
            if row.first_frame_at is None:
                update_analysis(connection, key.analysis_id, {"first_frame_at": at})
                record_event(connection, key.analysis_id, at, EventKind.FIRST_FRAME, {"instance": instance})
        return True

    def complete_segment(
        self, key: SegmentKey, owner: str, report: Mapping[str, Any], instance: str, busy_s: float
    ) -> bool:
        # Whoever reports it, a late owner too: the part is written, and would be written the same again.
        now = self._clock()
        done = {"state": SegmentState.DONE.value, "finished_at": now, "error": None, "not_before": None}
        done |= {"frames": report["frames"], "parts": report.get("parts"), "instance": instance, "busy_s": busy_s}
        with writing(self._engine) as connection:
            row = lock_analysis(connection, key.analysis_id)
            ending = update(segments).where(_is(key), _s.state.in_(_OPEN)).values(done | NO_LEASE)
            if row is None or connection.execute(ending).rowcount == 0:
                return False
            data = {**_place(key), "frames": report["frames"]}
            record_event(connection, key.analysis_id, now, EventKind.SEGMENT_DONE, data)
            settle(connection, row, now)
        return True

    def fail_segment(self, key: SegmentKey, owner: str, error: str, retryable: bool) -> SegmentState | None:
        now = self._clock()
        with writing(self._engine) as connection:
            row = lock_analysis(connection, key.analysis_id)
            mine = select(_s.attempts).where(_is(key), _leased_by(owner)).with_for_update()
            attempts = connection.execute(mine).scalar_one_or_none()
            if row is None or attempts is None:
                return None
            state = after_segment_failure(attempts + 1, self._max_attempts, retryable)
            over = state is SegmentState.FAILED
            values = {"state": state.value, "attempts": attempts + 1, "error": error, "started_at": None}
            values |= {"finished_at": now} if over else {"not_before": retry_at(attempts + 1, now)}
            connection.execute(update(segments).where(_is(key)).values(values | NO_LEASE))
            kind = EventKind.SEGMENT_FAILED if over else EventKind.SEGMENT_RETRIED
            record_event(connection, key.analysis_id, now, kind, {**_place(key), "error": error})
            settle(connection, row, now)
        return state

    def settle(self, analysis_id: str) -> AnalysisState | None:
        """End the analysis if all its segments have; its state (None if there is none). Harmless to repeat."""
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            return None if row is None else settle(connection, row, self._clock())

    def release(self, owner: str) -> int:
        back = {"state": SegmentState.PENDING.value, "started_at": None} | NO_LEASE
        with writing(self._engine) as connection:
            unplanned = and_(_a.state == AnalysisState.QUEUED.value, _a.lease_owner == owner)
            released = connection.execute(update(analyses).where(unplanned).values(NO_LEASE)).rowcount
            return released + connection.execute(update(segments).where(_leased_by(owner)).values(back)).rowcount

    def pending_counts(self) -> dict[SegmentState, int]:
        """How many segments are pending and leased."""
        counted = select(_s.state, func.count()).where(_s.state.in_(_OPEN)).group_by(_s.state)
        with reading(self._engine) as connection:
            found = {SegmentState(state): number for state, number in connection.execute(counted)}
        return {state: found.get(state, 0) for state in (SegmentState.PENDING, SegmentState.LEASED)}

    def pending_media_s(self) -> float:
        with reading(self._engine) as connection:
            total = select(func.sum(_s.end_s - _s.start_s)).where(_s.state.in_(_OPEN))
            return float(connection.execute(total).scalar() or 0.0)


def _is(key: SegmentKey) -> ColumnElement[bool]:
    return and_(
        _s.analysis_id == key.analysis_id,
        _s.media_index == key.media_index,
        _s.segment_index == key.segment_index,
    )


def _is_one_of(keys: Sequence[SegmentKey]) -> ColumnElement[bool]:
    return tuple_(_s.analysis_id, _s.media_index, _s.segment_index).in_([tuple(key) for key in keys])


def _leased_by(owner: str) -> ColumnElement[bool]:
    return and_(_s.state == SegmentState.LEASED.value, _s.lease_owner == owner)


def _place(key: SegmentKey) -> dict[str, int]:
    return {"media_index": key.media_index, "segment_index": key.segment_index}


def _segment_row(analysis: Any, media_index: int, segment: Segment) -> dict[str, Any]:
    return {
        "analysis_id": analysis.id,
        "media_index": media_index,
        "segment_index": segment.index,
        "queued_at": analysis.created_at,
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "last": segment.last,
        "state": SegmentState.PENDING.value,
    }


def _claimed(connection: Connection, keys: Sequence[SegmentKey]) -> list[ClaimedSegment]:
    """The claimed segments with what their analyses say about them, in the order of `keys`."""
    ids = {key.analysis_id for key in keys}
    owners = {row.id: row for row in connection.execute(select(analyses).where(_a.id.in_(ids)))}
    found = {}
    for row in connection.execute(select(segments).where(_is_one_of(keys))):
        key, analysis = SegmentKey(row.analysis_id, row.media_index, row.segment_index), owners[row.analysis_id]
        found[key] = ClaimedSegment(
            key=key,
            media_uri=analysis.media[key.media_index],
            info=analysis.info[key.media_index],
            analyzers=tuple(analysis.analyzers),
            start_s=row.start_s,
            end_s=row.end_s,
            last=row.last,
            attempts=row.attempts,
        )
    return [found[key] for key in keys]
