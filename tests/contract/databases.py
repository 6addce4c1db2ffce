"""The databases that the contract suites run on, and a clock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from cluster.storage.database import open_engine

POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/test"
SCHEMA = f"aima_contract_{os.getpid()}"


class FakeClock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sqlite(folder: Path) -> Engine:
    """A database in a file."""
    return open_engine(f"sqlite:///{folder / 'test.db'}")


def postgresql() -> Engine:
    """A schema of its own in the PostgreSQL server that runs here; skips the test where none does."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    options = {"connect_timeout": 2, "options": f"-csearch_path={SCHEMA}"}
    engine = create_engine(POSTGRES, connect_args=options, pool_size=10)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    except OperationalError:
        if os.environ.get("REQUIRE_SERVICES"):
            raise
        pytest.skip(f"no PostgreSQL answers at {POSTGRES}")
    return engine


@contextmanager
def postgresql_schema() -> Iterator[Engine]:
    """The same, with its schema dropped in the end."""
    engine = postgresql()
    yield engine
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
    engine.dispose()
