"""The queue in the database, which is the truth of every request."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select, tuple_, update

from serve_apps.analyses import (
    MAX_ATTEMPTS,
    AnalysisState,
    Lane,
    SegmentState,
    after_outage_at,
    after_segment_failure,
    retry_at,
    unreadable,
)
from serve_apps.queue.completion import NO_LEASE, OPEN, failure, finish, settle, update_analysis
from serve_apps.queue.contract import ClaimedSegment, Plan, SegmentKey
from serve_apps.queue.rows import claimed_segments, planned_rows
from serve_apps.store.analysis_store import Analysis, as_analysis
from serve_apps.store.events import EventKind
from serve_apps.store.tables import analyses, events, lock_analysis, reading, record_event, segments, writing

_s, _a = segments.c, analyses.c
_KEY = (_s.analysis_id, _s.media_index, _s.segment_index, _s.lane)


class DatabaseQueue:
    """`Queue` on SQLite (its one write lock) or PostgreSQL (SKIP LOCKED). `Store.create_tables` makes the tables."""

    def __init__(self, engine: Engine, clock: Callable[[], float], max_attempts: int = MAX_ATTEMPTS) -> None:
        self._engine, self._clock, self._max_attempts = engine, clock, max_attempts

    def claim_unplanned(self, owner: str, limit: int, lease_s: float, busy_keys: Sequence[str] = ()) -> list[Analysis]:
        now = self._clock()
        free = or_(_a.lease_until.is_(None), _a.lease_until <= now)
        turn = select(analyses).where(_a.state == AnalysisState.QUEUED.value, free)
        if busy_keys:
            turn = turn.where(func.coalesce(_a.key_id, "").not_in(busy_keys))
        turn = turn.order_by(_a.priority.desc(), _a.created_at, _a.id).limit(limit).with_for_update(skip_locked=True)
        with writing(self._engine) as connection:
            rows = connection.execute(turn).all()
            for row in rows:
                if row.plan_attempts >= self._max_attempts:
                    error = {"message": f"it could not be planned in {row.plan_attempts} tries"}
                    finish(connection, row, AnalysisState.FAILED, error, now)
            claimed = [as_analysis(row) for row in rows if row.plan_attempts < self._max_attempts]
            ids = [analysis.id for analysis in claimed]
            lease = {"lease_owner": owner, "lease_until": now + lease_s, "plan_attempts": _a.plan_attempts + 1}
            connection.execute(update(analyses).where(_a.id.in_(ids)).values(lease))
        return claimed

    def renew_plans(self, owner: str, ids: Sequence[str], lease_s: float) -> None:
        mine = and_(_a.id.in_(ids), _a.lease_owner == owner, _a.state == AnalysisState.QUEUED.value)
        with writing(self._engine) as connection:
            connection.execute(update(analyses).where(mine).values(lease_until=self._clock() + lease_s))

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        now = self._clock()
        unread = unreadable(infos)
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state != AnalysisState.QUEUED:
                return False
            if unread and len(unread) == len(infos):
                finish(connection, row, AnalysisState.FAILED, failure(connection, row, infos), now)
                return True
            rows = planned_rows(row, plan)
            if rows:
                connection.execute(segments.insert(), rows)
            running = {"state": AnalysisState.RUNNING.value, "started_at": row.started_at or now, "error": None}
            update_analysis(connection, analysis_id, running | {"info": [dict(i) for i in infos]} | NO_LEASE)
            record_event(connection, analysis_id, now, EventKind.PLANNED, {"segments_total": len(rows)})
            for index, error in unread.items():
                record_event(
                    connection, analysis_id, now, EventKind.MEDIA_FAILED, {"media_index": index, "error": error}
                )
            # There may be nothing to do: no analyzer has to do with the media, or all others were done before.
            settle(connection, lock_analysis(connection, analysis_id), now)
        return True

    def plan_later(self, analysis_id: str, owner: str, error: str) -> bool:
        now = self._clock()
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state != AnalysisState.QUEUED or row.lease_owner != owner:
                return True  # it is not ours to plan any more
            since = _failing_since(connection, analysis_id, now, EventKind.MEDIA_RETRIED, EventKind.RETRIED)
            if (again_at := after_outage_at(since, now)) is None:
                return False
            later = {"lease_until": again_at, "error": {"message": error}, "plan_attempts": 0}
            update_analysis(connection, analysis_id, NO_LEASE | later)
            record_event(connection, analysis_id, now, EventKind.MEDIA_RETRIED, {"error": error})
        return True

    def claim_segments(self, owner: str, lane: Lane, limit: int, lease_s: float) -> list[ClaimedSegment]:
        now = self._clock()
        rested = or_(_s.not_before.is_(None), _s.not_before <= now)
        pending = and_(_s.state == SegmentState.PENDING.value, rested)
        abandoned = and_(_s.state == SegmentState.LEASED.value, _s.lease_until <= now)
        turn = select(*_KEY).where(or_(pending, abandoned), _s.lane == lane.value)
        turn = turn.order_by(_s.priority.desc(), _s.queued_at, *_KEY).limit(limit)
        lease = {"lease_owner": owner, "lease_until": now + lease_s, "not_before": None, "started_at": None}
        with writing(self._engine) as connection:
            keys = [_key(row) for row in connection.execute(turn.with_for_update(skip_locked=True))]
            if not keys:
                return []
            leased = lease | {"state": SegmentState.LEASED.value}
            connection.execute(update(segments).where(_is_one_of(keys)).values(leased))
            return claimed_segments(connection, keys, connection.execute(select(segments).where(_is_one_of(keys))))

    def renew(self, owner: str, keys: Sequence[SegmentKey], lease_s: float) -> set[SegmentKey]:
        mine = and_(_is_one_of(keys), _leased_by(owner))
        with writing(self._engine) as connection:
            longer = update(segments).where(mine).values(lease_until=self._clock() + lease_s).returning(*_KEY)
            return {_key(row) for row in connection.execute(longer)}

    def first_frame(self, key: SegmentKey, owner: str, instance: str) -> bool:
        at = self._clock()  # ours: a worker's may be minutes off
        with writing(self._engine) as connection:
            row = lock_analysis(connection, key.analysis_id)
            if row is None:
                return False
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
            ending = update(segments).where(_is(key), _s.state.in_(OPEN)).values(done | NO_LEASE)
            if row is None or connection.execute(ending).rowcount == 0:
                return False
            data = {**_place(key), "frames": report["frames"]}
            record_event(connection, key.analysis_id, now, EventKind.SEGMENT_DONE, data)
            settle(connection, row, now)
        return True

    def fail_segment(
        self, key: SegmentKey, owner: str, error: str, retryable: bool, outage: bool = False
    ) -> SegmentState | None:
        now = self._clock()
        with writing(self._engine) as connection:
            row = lock_analysis(connection, key.analysis_id)
            mine = select(_s.attempts).where(_is(key), _leased_by(owner)).with_for_update()
            attempts = connection.execute(mine).scalar_one_or_none()
            if row is None or attempts is None:
                return None
            again_at = after_outage_at(_failing_since(connection, key.analysis_id, now), now) if outage else None
            if again_at is None:
                attempts, again_at = attempts + 1, retry_at(attempts + 1, now)
            state = after_segment_failure(attempts, self._max_attempts, retryable)
            over = state is SegmentState.FAILED
            values = {"state": state.value, "attempts": attempts, "error": error, "started_at": None}
            values |= {"finished_at": now} if over else {"not_before": again_at}
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
            back_in_line = NO_LEASE | {"plan_attempts": 0}
            released = connection.execute(update(analyses).where(unplanned).values(back_in_line)).rowcount
            return released + connection.execute(update(segments).where(_leased_by(owner)).values(back)).rowcount

    def pending_media_s(self, lane: Lane, most_of_one_s: float = math.inf) -> float:
        open_ones = select(func.sum(_s.end_s - _s.start_s)).where(_s.state.in_(OPEN), _s.lane == lane.value)
        with reading(self._engine) as connection:
            each = connection.execute(open_ones.group_by(_s.analysis_id)).scalars()
            return float(sum(min(seconds, most_of_one_s) for seconds in each))


def _failing_since(
    connection: Connection,
    analysis_id: str,
    now: float,
    failure: EventKind = EventKind.SEGMENT_RETRIED,
    success: EventKind = EventKind.SEGMENT_DONE,
) -> float:
    """When the first failure came after which there was no success in the analysis."""
    of_it = events.c.analysis_id == analysis_id
    done = select(func.max(events.c.id)).where(of_it, events.c.kind == success.value).scalar_subquery()
    failed = select(func.min(events.c.at)).where(of_it, events.c.kind == failure.value)
    return float(connection.execute(failed.where(events.c.id > func.coalesce(done, 0))).scalar() or now)


def _key(row: Any) -> SegmentKey:
    return SegmentKey(row.analysis_id, row.media_index, row.segment_index, Lane(row.lane))


def _is(key: SegmentKey) -> ColumnElement[bool]:
    return and_(
        _s.analysis_id == key.analysis_id,
        _s.media_index == key.media_index,
        _s.segment_index == key.segment_index,
        _s.lane == key.lane.value,
    )


def _is_one_of(keys: Sequence[SegmentKey]) -> ColumnElement[bool]:
    return tuple_(*_KEY).in_([tuple(key) for key in keys])


def _leased_by(owner: str) -> ColumnElement[bool]:
    return and_(_s.state == SegmentState.LEASED.value, _s.lease_owner == owner)


def _place(key: SegmentKey) -> dict[str, Any]:
    return {"media_index": key.media_index, "segment_index": key.segment_index, "lane": key.lane.value}
