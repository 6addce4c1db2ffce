"""What goes wrong with the ledger: locked by another process, refusing every write, or on a disk that is full."""

import contextlib
import random
import resource
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.chaos.faults import Kind
from tests.chaos.schedule import Habit
from tests.chaos.stage import Stage, locked
from tests.chaos.verdict import Blind

_TABLES, _TRIGGER = ("launch_intents", "launch_events"), "chaos_refuses"


@contextlib.contextmanager
def ledger_locked(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """Somebody holds the ledger and lets nobody write."""
    with _told_to_the_judge(stage), locked(_path(stage)):
        yield "the ledger is locked"


@contextlib.contextmanager
def ledger_read_only(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """The ledger's database refuses every write, and can be read."""
    with _told_to_the_judge(stage):
        _execute(_path(stage), *(_refusal(table, verb) for table in _TABLES for verb in ("INSERT", "UPDATE")))
        try:
            yield "the ledger is read-only"
        finally:
            _execute(_path(stage), *(f"DROP TRIGGER {_name(t, v)}" for t in _TABLES for v in ("INSERT", "UPDATE")))


@contextlib.contextmanager
def disk_full(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """The process that spends money cannot write one more byte to any file."""
    if (orchestrator := stage.orchestrator()) is None:
        yield ""
        return
    with _told_to_the_judge(stage):
        _limit(orchestrator, 1)
        try:
            yield "the orchestrator's disk is full, the ledger's with it"
        finally:
            _limit(orchestrator, resource.RLIM_INFINITY)


def _limit(process: psutil.Process, most_bytes: int) -> None:
    with contextlib.suppress(psutil.Error):  # another fault may have ended it
        process.rlimit(psutil.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


@contextlib.contextmanager
def _told_to_the_judge(stage: Stage) -> Iterator[None]:
    """What is not written when the process is killed meanwhile is found out by the next one."""
    began = time.time()
    try:
        yield
    finally:
        stage.blind.append(Blind(began, time.time()))


def _path(stage: Stage) -> Path:
    return stage.state.path / "ledger.db"


def _name(table: str, verb: str) -> str:
    return f"{_TRIGGER}_{table}_{verb}".lower()


def _refusal(table: str, verb: str) -> str:
    refuse = "SELECT RAISE(ABORT, 'attempt to write a readonly database')"
    return f"CREATE TRIGGER IF NOT EXISTS {_name(table, verb)} BEFORE {verb} ON {table} BEGIN {refuse}; END"


def _execute(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


KINDS = {
    "ledger locked": Kind(ledger_locked, Habit((2.0, 20.0), group="ledger")),
    "ledger read-only": Kind(ledger_read_only, Habit((2.0, 20.0), group="ledger")),
    "ledger's disk full": Kind(disk_full, Habit((2.0, 20.0), group="ledger")),
}
