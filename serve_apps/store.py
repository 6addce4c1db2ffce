"""Analyses in the database: made once, read often. What moves them on is in queue.py."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select
from sqlalchemy.exc import IntegrityError

from serve_apps.analyses import FINISHED, AnalysisState, Busy, SegmentGroup, SegmentState
from serve_apps.events import Event, EventKind
from serve_apps.tables import analyses, events, metadata, reading, record_event, segments, writing

_SPEED_SAMPLE = 50


class IdempotencyConflict(Exception):
    """The idempotency key was used with another body; `analysis_id` is the analysis that has it."""

    def __init__(self, key: str, analysis_id: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} belongs to {analysis_id}, which was asked for with another body")
        self.key, self.analysis_id = key, analysis_id


@dataclass(frozen=True)
class Analysis:
    """One user's request. Times are epoch seconds; `error` is {"message", "media"}.

    `started_at` is when it was planned, `first_frame_at` when a worker had its first frame.
    """

    id: str
    created_at: float
    state: AnalysisState
    media: tuple[str, ...]
    analyzers: tuple[str, ...]
    body_sha256: str
    idempotency_key: str | None = None
    error: Mapping[str, Any] | None = None
    started_at: float | None = None
    first_frame_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True)
class Part:
    """A Parquet file of a done segment."""

    media_index: int
    segment_index: int
    analyzer: str
    uri: str


class Store:
    """Reads and makes analyses. Safe for threads and for several processes on one database."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock

    def create_tables(self) -> None:
        """Create what is missing."""
        metadata.create_all(self._engine)

    def now(self) -> float:
        """The store's clock, epoch seconds."""
        return self._clock()

    def create(
        self,
        media: Sequence[str],
        analyzers: Sequence[str],
        idempotency_key: str | None,
        body_sha256: str,
    ) -> tuple[Analysis, bool]:
        """Store a request; when this returns, no crash loses it. False: the key had made it before.

        Raises IdempotencyConflict when the key came with another body.
        """
        if (found := self.replay(idempotency_key, body_sha256)) is not None:
            return found, False
        try:
            return self._insert(media, analyzers, idempotency_key, body_sha256), True
        except IntegrityError:  # the same key at the same moment: the other one was first
            found = self.replay(idempotency_key, body_sha256)
            if found is None:
                raise
            return found, False

    def replay(self, idempotency_key: str | None, body_sha256: str) -> Analysis | None:
        """The analysis that this key has made; None for a new key. Raises IdempotencyConflict for another body."""
        if idempotency_key is None:
            return None
        with reading(self._engine) as connection:
            row = connection.execute(
                select(analyses).where(analyses.c.idempotency_key == idempotency_key)
            ).one_or_none()
        if row is None:
            return None
        if row.body_sha256 != body_sha256:
            raise IdempotencyConflict(idempotency_key, row.id)
        return as_analysis(row)

    def _insert(
        self, media: Sequence[str], analyzers: Sequence[str], idempotency_key: str | None, body_sha256: str
    ) -> Analysis:
        analysis = Analysis(
            id=f"an_{secrets.token_hex(8)}",
            created_at=self._clock(),
            state=AnalysisState.QUEUED,
            media=tuple(media),
            analyzers=tuple(analyzers),
            body_sha256=body_sha256,
            idempotency_key=idempotency_key,
        )
        with writing(self._engine) as connection:
            connection.execute(
                analyses.insert().values(
                    id=analysis.id,
                    created_at=analysis.created_at,
                    state=analysis.state.value,
                    media=list(media),
                    analyzers=list(analyzers),
                    body_sha256=body_sha256,
                    idempotency_key=idempotency_key,
                )
            )
            record_event(connection, analysis.id, analysis.created_at, EventKind.QUEUED, {"media": len(media)})
        return analysis

    def get(self, analysis_id: str) -> Analysis | None:
        """The analysis, or None."""
        with reading(self._engine) as connection:
            row = connection.execute(select(analyses).where(analyses.c.id == analysis_id)).one_or_none()
        return None if row is None else as_analysis(row)

    def recent(self, limit: int) -> list[Analysis]:
        """The newest analyses, newest first."""
        newest = select(analyses).order_by(analyses.c.created_at.desc(), analyses.c.id).limit(limit)
        with reading(self._engine) as connection:
            return [as_analysis(row) for row in connection.execute(newest)]

    def segment_groups(self, analysis_ids: Sequence[str]) -> dict[str, list[SegmentGroup]]:
        """The segments of each analysis, added up by state; nothing for one that is not planned."""
        groups: dict[str, list[SegmentGroup]] = {analysis_id: [] for analysis_id in analysis_ids}
        with reading(self._engine) as connection:
            for row in _grouped(connection, analysis_ids):
                groups[row.analysis_id].append(_group(row))
        return groups

    def busy(self, analysis_ids: Sequence[str]) -> list[Busy]:
        """Who has used the instances that these analyses have used, other analyses too."""
        s = segments.c
        used = select(s.instance).where(s.analysis_id.in_(analysis_ids), s.instance.is_not(None))
        rows = (
            select(s.analysis_id, s.instance, func.sum(s.busy_s).label("busy_s"))
            .where(s.instance.in_(used))
            .group_by(s.analysis_id, s.instance)
        )
        with reading(self._engine) as connection:
            return [Busy(row.analysis_id, row.instance, row.busy_s) for row in connection.execute(rows)]

    def observed_speed(self) -> float | None:
        """Media seconds per second that one segment made of late; None before the first one."""
        s = segments.c
        latest = (
            select((s.end_s - s.start_s).label("media_s"), s.busy_s)
            .where(s.state == SegmentState.DONE.value, s.busy_s > 0)
            .order_by(s.finished_at.desc())
            .limit(_SPEED_SAMPLE)
            .subquery()
        )
        with reading(self._engine) as connection:
            media_s, busy_s = connection.execute(select(func.sum(latest.c.media_s), func.sum(latest.c.busy_s))).one()
        return media_s / busy_s if busy_s else None

    def parts(self, analysis_id: str) -> list[Part]:
        """The parts that have been written, in the media's order."""
        s = segments.c
        rows = (
            select(s.media_index, s.segment_index, s.parts)
            .where(s.analysis_id == analysis_id, s.parts.is_not(None))
            .order_by(s.media_index, s.segment_index)
        )
        with reading(self._engine) as connection:
            return [
                Part(row.media_index, row.segment_index, analyzer, uri)
                for row in connection.execute(rows)
                for analyzer, uri in row.parts.items()
            ]

    def is_finished(self, analysis_id: str) -> bool:
        """Whether nothing will happen to it any more (also when there is no such analysis)."""
        with reading(self._engine) as connection:
            state = connection.execute(select(analyses.c.state).where(analyses.c.id == analysis_id)).scalar()
        return state is None or state in FINISHED

    def events_after(self, analysis_id: str, event_id: int) -> list[Event]:
        """Its events with a greater id, in order."""
        e = events.c
        rows = select(events).where(e.analysis_id == analysis_id, e.id > event_id).order_by(e.id)
        with reading(self._engine) as connection:
            return [
                Event(row.id, row.analysis_id, row.at, EventKind(row.kind), row.data)
                for row in connection.execute(rows)
            ]


def _grouped(connection: Connection, analysis_ids: Sequence[str]) -> Sequence[Row[Any]]:
    s = segments.c
    begun = s.started_at.is_not(None).label("begun")
    return connection.execute(
        select(
            s.analysis_id,
            s.state,
            begun,
            func.count().label("count"),
            func.sum(s.end_s - s.start_s).label("media_s"),
            func.sum(s.frames).label("frames"),
            func.sum(s.busy_s).label("busy_s"),
            func.min(s.started_at).label("first_begun_at"),
            # A segment that may run now must not hide behind one that waits.
            func.min(func.coalesce(s.not_before, 0.0)).label("not_before"),
        )
        .where(s.analysis_id.in_(analysis_ids))
        .group_by(s.analysis_id, s.state, begun)
    ).all()


def _group(row: Row[Any]) -> SegmentGroup:
    return SegmentGroup(
        state=SegmentState(row.state),
        begun=bool(row.begun),
        count=row._mapping["count"],
        media_s=row.media_s,
        frames=int(row.frames),
        busy_s=row.busy_s,
        first_begun_at=row.first_begun_at,
        not_before=row.not_before or None,
    )


def as_analysis(row: Row[Any]) -> Analysis:
    """A row of `analyses`."""
    return Analysis(
        id=row.id,
        created_at=row.created_at,
        state=AnalysisState(row.state),
        media=tuple(row.media),
        analyzers=tuple(row.analyzers),
        body_sha256=row.body_sha256,
        idempotency_key=row.idempotency_key,
        error=row.error,
        started_at=row.started_at,
        first_frame_at=row.first_frame_at,
        finished_at=row.finished_at,
    )
