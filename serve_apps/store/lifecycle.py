"""What a user may do with an analysis after asking for it: cancel it, try again, have it erased."""

from collections.abc import Callable

from sqlalchemy import Engine, and_, delete, select, update

from serve_apps.analyses import FINISHED, AnalysisState, SegmentState, unreadable
from serve_apps.queue.completion import NO_LEASE, OPEN, finish, update_analysis
from serve_apps.store.events import EventKind
from serve_apps.store.tables import analyses, lock_analysis, reading, record_event, segments, writing

_s, _a = segments.c, analyses.c
_NOT_WHOLE = (AnalysisState.PARTIAL, AnalysisState.FAILED, AnalysisState.CANCELLED)
_TRY_AGAIN = (SegmentState.FAILED.value, SegmentState.CANCELLED.value)


class Lifecycle:
    """Every method is one transaction; what is called twice does it once."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock

    def cancel(self, analysis_id: str, reason: str | None = None) -> bool:
        """End it now; what is done is kept. False if it had ended before, or never was."""
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state in FINISHED:
                return False
            left = and_(_s.analysis_id == analysis_id, _s.state.in_(OPEN))
            ended = {"state": SegmentState.CANCELLED.value, "started_at": None, "not_before": None} | NO_LEASE
            connection.execute(update(segments).where(left).values(ended))
            error = None if reason is None else {"message": reason}
            finish(connection, row, AnalysisState.CANCELLED, error, self._clock())
        return True

    def retry(self, analysis_id: str) -> bool:
        """Run again what failed or was cancelled; what is done stays. False if nothing is to be tried again."""
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state not in _NOT_WHOLE:
                return False
            again = {"state": SegmentState.PENDING.value, "attempts": 0, "error": None, "finished_at": None}
            of_it = and_(_s.analysis_id == analysis_id, _s.state.in_(_TRY_AGAIN))
            connection.execute(update(segments).where(of_it).values(again | NO_LEASE))
            planned = row.started_at is not None and not unreadable(row.info)
            state = AnalysisState.RUNNING if planned else AnalysisState.QUEUED
            back = {"state": state.value, "error": None, "finished_at": None, "summarised": False}
            update_analysis(connection, analysis_id, {**back, **NO_LEASE, "plan_attempts": 0})
            record_event(connection, analysis_id, self._clock(), EventKind.RETRIED, {})
        return True

    def forget(self, analysis_id: str) -> bool:
        """Remove every row about a finished analysis. Its parts and documents must be gone already."""
        with writing(self._engine) as connection:
            row = lock_analysis(connection, analysis_id)
            if row is None or row.state not in FINISHED:
                return False
            connection.execute(delete(analyses).where(_a.id == analysis_id))
        return True

    def expired(self, limit: int = 100) -> list[str]:
        """Finished analyses whose time is over, longest first."""
        over = and_(_a.expires_at <= self._clock(), _a.state.in_([state.value for state in FINISHED]))
        with reading(self._engine) as connection:
            return list(connection.execute(select(_a.id).where(over).order_by(_a.expires_at).limit(limit)).scalars())
