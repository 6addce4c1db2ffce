"""Analyses in the database: made once, read often. What moves them on is in ../queue/contract.py."""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Engine, Row, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from serve_apps.analyses import FINISHED, AnalysisState, Busy, SegmentGroup
from serve_apps.store.events import Event, EventKind
from serve_apps.store.migrations import upgrade
from serve_apps.store.status_queries import analyses_rows, busy_on, segment_groups
from serve_apps.store.tables import analyses, events, reading, record_event, segments, writing
from serve_apps.store.throughput import Work, recent_work

_WORK_REMEMBERED_S = 2.0


class IdempotencyConflict(Exception):
    """The idempotency key was used with another body; `analysis_id` is the analysis that has it."""

    def __init__(self, key: str, analysis_id: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} belongs to {analysis_id}, which was asked for with another body")
        self.key, self.analysis_id = key, analysis_id


@dataclass(frozen=True)
class Submission:
    """What a user asks for, checked: `media` are URIs that may be read, `options` are by analyzer.

    `webhook` is {"url", "secret"}; `expires_at` (epoch seconds) is when everything about it is erased, None: never.
    `key_id` names the API key that asked, None the deployment's own token.
    """

    media: Sequence[str]
    analyzers: Sequence[str]
    body_sha256: str
    idempotency_key: str | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    budget_usd: float | None = None
    webhook: Mapping[str, str] | None = None
    key_id: str | None = None
    expires_at: float | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Analysis:
    """One user's request, see Submission. Times are epoch seconds.

    `error` is {"message", "media"}, with "segments_failed" and "failed_media" where media have failed.
    `info` has each media item's header, or {"uri", "error"}, once they were read. `started_at` is when it was planned,
    `first_frame_at` when a worker had its first frame; `cost_usd` is what it had cost when last counted.
    `summarised`: its insights and manifests are written (see summaries.py).
    """

    id: str
    created_at: float
    state: AnalysisState
    media: tuple[str, ...]
    analyzers: tuple[str, ...]
    body_sha256: str
    idempotency_key: str | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    budget_usd: float | None = None
    cost_usd: float | None = None
    webhook: Mapping[str, str] | None = field(default=None, repr=False)
    key_id: str | None = None
    expires_at: float | None = None
    error: Mapping[str, Any] | None = None
    started_at: float | None = None
    first_frame_at: float | None = None
    finished_at: float | None = None
    summarised: bool = False
    traceparent: str | None = None
    info: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Part:
    """A Parquet file of a done segment."""

    media_index: int
    segment_index: int
    analyzer: str
    uri: str


@dataclass(frozen=True)
class Standing:
    """Analyses with their segments, and who has used the instances that worked for them, each by the analysis's id."""

    analyses: Mapping[str, Analysis]
    groups: Mapping[str, Sequence[SegmentGroup]]
    busy: Sequence[Busy]


class Store:
    """Reads and makes analyses. Safe for threads and for several processes on one database."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self.engine, self._clock = engine, clock
        self._work: tuple[float, list[Work]] | None = None

    def create_tables(self) -> None:
        """Bring the database's schema to the newest step."""
        upgrade(self.engine)

    def now(self) -> float:
        """The store's clock, epoch seconds."""
        return self._clock()

    def is_ready(self) -> bool:
        """Whether the database answers with our tables in it. Raises nothing."""
        try:
            with reading(self.engine) as connection:
                connection.execute(select(analyses.c.id).limit(1)).first()
        except SQLAlchemyError:
            return False
        return True

    def create(self, asked: Submission) -> tuple[Analysis, bool]:
        """Store a request; when this returns, no crash loses it. False: its key had made it before.

        Raises IdempotencyConflict when the key came with another body.
        """
        if (found := self.replay(asked.idempotency_key, asked.body_sha256)) is not None:
            return found, False
        try:
            return self._insert(asked), True
        except IntegrityError:  # the same key at the same moment: the other one was first
            found = self.replay(asked.idempotency_key, asked.body_sha256)
            if found is None:
                raise
            return found, False

    def replay(self, idempotency_key: str | None, body_sha256: str) -> Analysis | None:
        """The analysis that this key has made; None for a new key. Raises IdempotencyConflict for another body."""
        if idempotency_key is None:
            return None
        with reading(self.engine) as connection:
            row = connection.execute(
                select(analyses).where(analyses.c.idempotency_key == idempotency_key)
            ).one_or_none()
        if row is None:
            return None
        if row.body_sha256 != body_sha256:
            raise IdempotencyConflict(idempotency_key, row.id)
        return as_analysis(row)

    def _insert(self, asked: Submission) -> Analysis:
        values = {name: getattr(asked, name) for name in _COPIED}
        analysis = Analysis(
            id=f"an_{secrets.token_hex(8)}",
            created_at=self._clock(),
            state=AnalysisState.QUEUED,
            **values | {"media": tuple(asked.media), "analyzers": tuple(asked.analyzers)},
        )
        row = values | {"id": analysis.id, "created_at": analysis.created_at, "state": analysis.state.value}
        row |= {"media": list(asked.media), "analyzers": list(asked.analyzers)}
        with writing(self.engine) as connection:
            connection.execute(analyses.insert().values(row))
            record_event(connection, analysis.id, analysis.created_at, EventKind.QUEUED, {"media": len(asked.media)})
        return analysis

    def get(self, analysis_id: str) -> Analysis | None:
        """The analysis, or None."""
        with reading(self.engine) as connection:
            row = connection.execute(select(analyses).where(analyses.c.id == analysis_id)).one_or_none()
        return None if row is None else as_analysis(row)

    def media_of(self, analysis_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The media of each of these analyses that exists."""
        rows = select(analyses.c.id, analyses.c.media).where(analyses.c.id.in_(analysis_ids))
        with reading(self.engine) as connection:
            return {row.id: tuple(row.media) for row in connection.execute(rows)}

    def standing(self, analysis_ids: Sequence[str]) -> Standing:
        """How these analyses stand, those of them that exist; one transaction."""
        with reading(self.engine) as connection:
            found = {row.id: as_analysis(row) for row in analyses_rows(connection, analysis_ids)}
            groups = segment_groups(connection, list(found))
            # Without a second of work there is nothing to share costs by.
            used = [key for key, of_it in groups.items() if any(group.busy_s > 0 for group in of_it)]
            return Standing(found, groups, busy_on(connection, used) if used else [])

    def segment_groups(self, analysis_ids: Sequence[str]) -> dict[str, list[SegmentGroup]]:
        """The segments of each analysis, added up by state; nothing for one that is not planned."""
        with reading(self.engine) as connection:
            return segment_groups(connection, analysis_ids)

    def busy(self, analysis_ids: Sequence[str]) -> list[Busy]:
        """Who has used the instances that these analyses have used, other analyses too."""
        with reading(self.engine) as connection:
            return busy_on(connection, analysis_ids)

    def recent_work(self) -> list[Work]:
        """The segments that were done last, of each lane.

        Every status is read with them, and they teach slowly: they are remembered for two seconds.
        """
        now = self._clock()
        if self._work is None or not 0 <= now - self._work[0] < _WORK_REMEMBERED_S:
            with reading(self.engine) as connection:
                self._work = now, recent_work(connection)
        return self._work[1]

    def parts(self, analysis_id: str) -> list[Part]:
        """The parts that have been written, in the media's order."""
        s = segments.c
        rows = (
            select(s.media_index, s.segment_index, s.parts)
            .where(s.analysis_id == analysis_id, s.parts.is_not(None))
            .order_by(s.media_index, s.segment_index)
        )
        with reading(self.engine) as connection:
            return [
                Part(row.media_index, row.segment_index, analyzer, uri)
                for row in connection.execute(rows)
                for analyzer, uri in row.parts.items()
            ]

    def heads(self, analysis_ids: Sequence[str]) -> dict[str, tuple[bool, int]]:
        """Of each analysis that exists: whether it has finished, and the id of its newest event.

        In this order: of one that has finished, all events are there.
        """
        a, e = analyses.c, events.c
        with reading(self.engine) as connection:
            states = connection.execute(select(a.id, a.state).where(a.id.in_(analysis_ids))).all()
            newest = select(e.analysis_id, func.max(e.id)).where(e.analysis_id.in_(analysis_ids))
            ids = {row[0]: row[1] for row in connection.execute(newest.group_by(e.analysis_id))}
        return {row.id: (row.state in FINISHED, ids.get(row.id, 0)) for row in states}

    def events_after(self, analysis_id: str, event_id: int) -> list[Event]:
        """Its events with a greater id, in order."""
        e = events.c
        rows = select(events).where(e.analysis_id == analysis_id, e.id > event_id).order_by(e.id)
        with reading(self.engine) as connection:
            return [
                Event(row.id, row.analysis_id, row.at, EventKind(row.kind), row.data)
                for row in connection.execute(rows)
            ]


_COPIED = tuple(f.name for f in fields(Submission))
_STORED = tuple(f.name for f in fields(Analysis))


def as_analysis(row: Row[Any]) -> Analysis:
    """A row of `analyses`."""
    values = {name: getattr(row, name) for name in _STORED}
    values |= {"state": AnalysisState(row.state), "media": tuple(row.media), "analyzers": tuple(row.analyzers)}
    return Analysis(**values)
