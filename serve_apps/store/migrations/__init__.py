"""The service's schema, step by step.

`upgrade` brings any database of ours to the newest step.

A new step is one new file in versions/: revision = "NNNN", down_revision = the one before. A test compares what the
steps make with what tables.py says, on SQLite and on PostgreSQL.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, text

_FIRST = "0001"
_LOCK_ID = 0x41494D41  # any number that nobody else locks: several processes may start at once


def upgrade(engine: Engine) -> None:
    """Create what is missing and change what is old, in one transaction. Harmless to repeat, and beside others."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        if _made_before_versions(connection):
            command.stamp(config, _FIRST)
        command.upgrade(config, "head")


def _made_before_versions(connection: Connection) -> bool:
    found = inspect(connection)
    return found.has_table("analyses") and not found.has_table("aima_schema_version")
