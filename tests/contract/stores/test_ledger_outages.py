"""The ledger's journal on real databases that are locked, read-only or gone: the event loop never waits for them."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from autoscaler.errors import LedgerUnavailable
from autoscaler.records.journal import Journal, WriterThread
from autoscaler.records.ledger import Event, Ledger
from autoscaler.types import Intent, IntentState
from tests.contract.databases import postgresql_schema, sqlite

Outage = Callable[[], AbstractContextManager[None]]
BUYING = Intent("c1-gpu-00000001", "gpu", IntentState.BUYING, 1000.0, cloud="red")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "postgresql":
        with postgresql_schema() as engine:
            yield engine
        return
    engine = sqlite(tmp_path)
    yield engine
    engine.dispose()


@contextlib.contextmanager
def locked(engine: Engine) -> Iterator[None]:
    """Another process holds the ledger and lets nobody write."""
    if engine.dialect.name == "sqlite":
        connection = sqlite3.connect(str(engine.url.database), isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.close()
        return
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE launch_intents, launch_events IN ACCESS EXCLUSIVE MODE"))
        yield


@contextlib.contextmanager
def refusing(engine: Engine) -> Iterator[None]:
    """The database takes no write."""
    tables = ("launch_intents", "launch_events")
    with engine.begin() as connection:
        for table in tables:
            if engine.dialect.name == "sqlite":
                refuse = "SELECT RAISE(ABORT, 'attempt to write a readonly database')"
                connection.execute(text(f"CREATE TRIGGER r_{table} BEFORE INSERT ON {table} BEGIN {refuse}; END"))
            else:
                connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))
    yield
    with engine.begin() as connection:
        for table in tables:
            away = engine.dialect.name != "sqlite"
            undo = f"ALTER TABLE {table}_away RENAME TO {table}" if away else f"DROP TRIGGER r_{table}"
            connection.execute(text(undo))


@contextlib.contextmanager
def cut_off(engine: Engine) -> Iterator[None]:
    """Every connection is lost once; SQLite has none to lose."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.execute(text(f"{others} AND query LIKE '%launch_%' AND datname = current_database()"))
    yield


@pytest.mark.parametrize("outage", [locked, refusing])
def test_a_purchase_waits_for_its_record_in_bounded_time_and_the_loop_not_at_all(
    engine: Engine, outage: Callable[[Engine], AbstractContextManager[None]]
) -> None:
    journal, ledger = made(engine)
    asyncio.run(journal.durable(30.0))

    async def buy() -> float:
        longest_s, stop = 0.0, False

        async def watch() -> None:
            nonlocal longest_s
            while not stop:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest_s = max(longest_s, time.monotonic() - before)

        watching = asyncio.create_task(watch())
        journal.add(Event(1000.0, BUYING.name, "buying one"), BUYING)
        with pytest.raises(LedgerUnavailable):
            await journal.durable(1.0)
        stop = True
        await watching
        return longest_s

    with outage(engine):
        before = time.monotonic()
        longest_s = asyncio.run(buy())
        assert time.monotonic() - before < 10
        assert longest_s < 1.0, "the event loop stood still"
        for number in range(50):
            journal.add(Event(1001.0, "red", f"event {number}"), replace(BUYING, state=IntentState.ENDING))
        assert journal.unwritten() > 0
    asyncio.run(journal.durable(60.0))
    assert journal.trouble() == ""
    assert [intent.state for intent in ledger.live()] == [IntentState.ENDING]
    assert ledger.recent_events(1)[0]["sentence"] == "event 49"
    journal.close()


def test_a_lost_connection_is_made_again(engine: Engine) -> None:
    journal, ledger = made(engine)
    journal.add(Event(1000.0, BUYING.name, "buying one"), BUYING)
    asyncio.run(journal.durable(30.0))
    with cut_off(engine):
        ended = replace(BUYING, state=IntentState.ENDED, ended_at=1002.0)
        journal.add(Event(1002.0, BUYING.name, "gone"), ended)
        with contextlib.suppress(LedgerUnavailable):
            asyncio.run(journal.durable(30.0))
        asyncio.run(journal.durable(30.0))
    assert ledger.recent() == [ended]
    journal.close()


def made(engine: Engine) -> tuple[Journal, Ledger]:
    ledger = Ledger(engine, time.monotonic)
    ledger.create_tables()
    return Journal(ledger, time.monotonic, WriterThread("test ledger")), ledger
