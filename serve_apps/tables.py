"""The service's tables, and the two ways in: `reading` and `writing`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    select,
)

from serve_apps.events import EventKind

metadata = MetaData()

# All times are epoch seconds (UTC).
analyses = Table(
    "analyses",
    metadata,
    Column("id", String(19), primary_key=True),
    Column("created_at", Float(53), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("media", JSON, nullable=False),
    Column("analyzers", JSON, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("idempotency_key", String(255), unique=True),
    Column("body_sha256", String(64), nullable=False),
    Column("lease_owner", String(255)),
    Column("lease_until", Float(53)),
    Column("started_at", Float(53)),
    Column("first_frame_at", Float(53)),
    Column("finished_at", Float(53)),
    Column("info", JSON(none_as_null=True)),
)

segments = Table(
    "segments",
    metadata,
    Column("analysis_id", ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True),
    Column("media_index", Integer, primary_key=True),
    Column("segment_index", Integer, primary_key=True),
    # The analysis's created_at again: claiming in order needs no join.
    Column("queued_at", Float(53), nullable=False),
    Column("start_s", Float(53), nullable=False),
    Column("end_s", Float(53), nullable=False),
    Column("last", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease_owner", String(255)),
    Column("lease_until", Float(53)),
    Column("not_before", Float(53)),
    Column("frames", BigInteger, nullable=False, default=0),
    Column("parts", JSON(none_as_null=True)),
    Column("instance", String(255)),
    Column("busy_s", Float(53), nullable=False, default=0.0),
    Column("error", Text),
    Column("started_at", Float(53)),
    Column("finished_at", Float(53)),
    Index("segments_by_turn", "state", "queued_at", "analysis_id", "media_index", "segment_index"),
    Index("segments_by_instance", "instance"),
    Index("segments_by_end", "state", "finished_at"),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("analysis_id", ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_of_analysis", "analysis_id", "id"),
    sqlite_autoincrement=True,
)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads."""
    with engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, committed at the end unless an error leaves the block."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            # Take the only write lock now: a read that becomes a write later fails at once instead of waiting.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def lock_analysis(connection: Connection, analysis_id: str) -> Any:
    """The analysis's row (None if there is none), held until the transaction ends.

    Whoever ends a segment or records an event holds it: so two last segments see each other, and the ids of an
    analysis's events grow in the order in which readers can see them.
    """
    row = select(analyses).where(analyses.c.id == analysis_id).with_for_update(key_share=True)
    return connection.execute(row).one_or_none()


def record_event(connection: Connection, analysis_id: str, at: float, kind: EventKind, data: Mapping[str, Any]) -> None:
    """Write an event; the caller holds the analysis's row."""
    connection.execute(events.insert().values(analysis_id=analysis_id, at=at, kind=kind.value, data=dict(data)))
