"""What the migrations make is what tables.py says, from nothing and from the first release, on both databases."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from serve_apps.analyses import Lane
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.store.analysis_store import Store
from serve_apps.store.migrations import upgrade
from serve_apps.store.tables import metadata
from tests.contract.databases import FakeClock

# The tables of the first release, which had no versions, with an analysis that waits in them.
_FIRST_LIGHT = """
CREATE TABLE analyses (id VARCHAR(19) NOT NULL, created_at FLOAT8 NOT NULL, state VARCHAR(16) NOT NULL, media
  JSON NOT NULL, analyzers JSON NOT NULL, error JSON, idempotency_key VARCHAR(255), body_sha256 VARCHAR(64)
  NOT NULL, lease_owner VARCHAR(255), lease_until FLOAT8, started_at FLOAT8, first_frame_at FLOAT8,
  finished_at FLOAT8, info JSON, PRIMARY KEY (id), UNIQUE (idempotency_key));
CREATE INDEX ix_analyses_created_at ON analyses (created_at);
CREATE INDEX ix_analyses_state ON analyses (state);
CREATE TABLE segments (analysis_id VARCHAR(19) NOT NULL, media_index INTEGER NOT NULL, segment_index INTEGER
  NOT NULL, queued_at FLOAT8 NOT NULL, start_s FLOAT8 NOT NULL, end_s FLOAT8 NOT NULL, last BOOLEAN NOT NULL,
  state VARCHAR(16) NOT NULL, attempts INTEGER NOT NULL, lease_owner VARCHAR(255), lease_until FLOAT8,
  not_before FLOAT8, frames BIGINT NOT NULL, parts JSON, instance VARCHAR(255), busy_s FLOAT8 NOT NULL, error
  TEXT, started_at FLOAT8, finished_at FLOAT8, PRIMARY KEY (analysis_id, media_index, segment_index), FOREIGN
  KEY(analysis_id) REFERENCES analyses (id) ON DELETE CASCADE);
CREATE INDEX segments_by_turn ON segments (state, queued_at, analysis_id, media_index, segment_index);
CREATE INDEX segments_by_instance ON segments (instance);
CREATE INDEX segments_by_end ON segments (state, finished_at);
CREATE TABLE events (id SERIAL_KEY, analysis_id VARCHAR(19) NOT NULL, at FLOAT8 NOT NULL, kind VARCHAR(32) NOT
  NULL, data JSON NOT NULL, FOREIGN KEY(analysis_id) REFERENCES analyses (id) ON DELETE CASCADE);
CREATE INDEX events_of_analysis ON events (analysis_id, id);
INSERT INTO analyses (id, created_at, state, media, analyzers, body_sha256, idempotency_key, info) VALUES
  ('an_0123456789abcdef', 5.0, 'running', '["/m/a.mp4"]', '["labels"]', 'x', 'key', '[{}]');
INSERT INTO segments (analysis_id, media_index, segment_index, queued_at, start_s, end_s, last, state,
  attempts, frames, busy_s) VALUES ('an_0123456789abcdef', 0, 0, 5.0, 0.0, 60.0, true, 'pending', 0, 0, 0);
"""


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "aima_schema_version", "compare_type": True}
        )
        found = compare_metadata(context, metadata)
    loose = ("modify_type", "modify_nullable") if engine.dialect.name == "sqlite" else ()  # SQLite holds no types
    return [item for item in found if not (isinstance(item, list) and item[0][0] in loose)]


def test_the_steps_make_what_the_tables_say(engine: Engine) -> None:
    upgrade(engine)
    assert differences(engine) == []
    upgrade(engine)
    assert differences(engine) == []


def test_a_database_of_the_first_release_is_taken_along(engine: Engine) -> None:
    serial = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGSERIAL PRIMARY KEY"}[engine.dialect.name]
    with engine.begin() as connection:
        for statement in _FIRST_LIGHT.replace("SERIAL_KEY", serial).split(";")[:-1]:
            connection.exec_driver_sql(statement)
    store = Store(engine, FakeClock())
    store.create_tables()
    assert differences(engine) == []
    found = store.replay("key", "x")
    assert found is not None
    assert (found.media, found.options, found.priority) == (("/m/a.mp4",), {}, 0)
    (claimed,) = DatabaseQueue(engine, FakeClock()).claim_segments("me", Lane.GPU, 9, 10)
    assert (claimed.key.analysis_id, claimed.end_s) == (found.id, 60.0)
    assert inspect(engine).has_table("api_keys")
