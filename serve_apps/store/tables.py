"""The service's tables, and the two ways in: `reading` and `writing`. Changing one needs a migration (migrations/)."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

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
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    select,
)

from serve_apps.store.events import EventKind

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")
# In PostgreSQL, an index serves the search for beginnings of words only in this collation.
_Term = String(64).with_variant(String(64, collation="C"), "postgresql")

# All times are epoch seconds (UTC), all money USD.
analyses = Table(
    "analyses",
    metadata,
    Column("id", String(19), primary_key=True),
    Column("created_at", Float(53), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("media", JSON, nullable=False),
    Column("analyzers", JSON, nullable=False),
    Column("options", JSON, nullable=False, server_default="{}"),  # by analyzer
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("labels", JSON, nullable=False, server_default="{}"),
    Column("budget_usd", Float(53)),
    Column("cost_usd", Float(53)),
    Column("webhook", JSON(none_as_null=True)),
    Column("key_id", String(32)),
    Column("expires_at", Float(53), index=True),
    Column("error", JSON(none_as_null=True)),
    Column("idempotency_key", String(300), unique=True),
    Column("body_sha256", String(64), nullable=False),
    Column("lease_owner", String(255)),
    Column("lease_until", Float(53)),
    Column("started_at", Float(53)),
    Column("first_frame_at", Float(53)),
    Column("finished_at", Float(53)),
    Column("info", JSON(none_as_null=True)),
    Column("plan_attempts", Integer, nullable=False, server_default="0"),
    Column("traceparent", String(64)),  # see traces.py
    # Whether the insights and manifests of what is whole have been written.
    Column("summarised", Boolean, nullable=False, server_default="0"),
    Index("analyses_to_summarise", "summarised", "state"),
    Index("analyses_by_key", "key_id", "created_at"),
)

segments = Table(
    "segments",
    metadata,
    Column("analysis_id", ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False),
    Column("media_index", Integer, nullable=False),
    Column("segment_index", Integer, nullable=False),
    Column("lane", String(8), nullable=False, server_default="gpu"),
    # The analysis's priority and created_at again: claiming in order needs no join.
    Column("priority", Integer, nullable=False, server_default="0"),
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
    Column("indexed", Boolean, nullable=False, server_default="0"),
    Column("instance", String(255)),
    Column("busy_s", Float(53), nullable=False, default=0.0),
    Column("error", Text),
    Column("started_at", Float(53)),
    Column("finished_at", Float(53)),
    PrimaryKeyConstraint("analysis_id", "media_index", "segment_index", "lane", name="pk_segments"),
    Index("segments_by_lane", "state", "lane", "priority", "queued_at", "analysis_id"),
    Index("segments_by_user", "instance"),
    Index("segments_by_finish", "state", "finished_at"),
    Index("segments_to_index", "state", "indexed"),
)

events = Table(
    "events",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("analysis_id", ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_of_analysis", "analysis_id", "id"),
    sqlite_autoincrement=True,
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(19), primary_key=True),
    Column("analysis_id", ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("event", String(32), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float(53)),
    Column("delivered_at", Float(53)),
    Column("last_status", Integer),
    Column("last_error", Text),
    Index("webhooks_due", "state", "next_at"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(19), primary_key=True),
    Column("created_at", Float(53), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("part_size_bytes", BigInteger, nullable=False),
    Column("media_type", String(64)),
    Column("state", String(16), nullable=False),
    Column("uri", Text, nullable=False),
    Column("multipart_id", Text),
    Column("key_id", String(32)),
)

# What has been found, by segment and analyzer, for searching; `terms` is its inverted index.
documents = Table(
    "documents",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("analysis_id", String(19), nullable=False),
    Column("media_index", Integer, nullable=False),
    Column("analyzer", String(64), nullable=False),
    Column("segment_index", Integer, nullable=False),
    Column("records", JSON, nullable=False),
    Index("documents_place", "analysis_id", "media_index", "analyzer", "segment_index", unique=True),
)

document_terms = Table(
    "document_terms",
    metadata,
    Column("term", _Term, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Index("terms_of_document", "document_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("requests_per_minute", Integer),
    Column("budget_usd_per_month", Float(53)),
    Column("created_at", Float(53), nullable=False),
    Column("expires_at", Float(53)),
    Column("revoked_at", Float(53)),
)

# SQLite has one write lock, and whoever waits for it sleeps ever longer: within a process, writers line up here.
_sqlite_writers: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_registering = threading.Lock()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads."""
    with engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, committed at the end unless an error leaves the block."""
    sqlite = engine.dialect.name == "sqlite"
    with _turn_to_write(engine) if sqlite else nullcontext(), engine.begin() as connection:
        if sqlite:
            # Take the only write lock now: a read that becomes a write later fails at once instead of waiting.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def _turn_to_write(engine: Engine) -> threading.Lock:
    with _registering:
        return _sqlite_writers.setdefault(engine, threading.Lock())


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
