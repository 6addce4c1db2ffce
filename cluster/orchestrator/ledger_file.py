"""The ledger read without its orchestrator: at which clouds it ever bought, and which machines are not proved gone.

It is read as it is found: an older one lacks columns, a disk may be read-only, and what cannot be read is said.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from autoscaler.names import cluster_of
from autoscaler.records.ledger import Event, Ledger, intents
from autoscaler.types import Intent, IntentState
from cluster.storage.database import open_engine

_OVER = (IntentState.ENDED.value, IntentState.FAILED.value)
_LOCK_TIMEOUT_S = 5.0
# The second is for a disk that cannot be written: SQLite wants to write beside the file otherwise.
_WAYS = ("mode=ro", "immutable=1")


@dataclass(frozen=True)
class OpenEntry:
    """A launch that is not proved gone. `asked_at`: when its purchase was last under way, in unix seconds, or 0."""

    name: str
    cloud: str
    instance_id: str = ""
    price_usd_per_hour: float | None = None
    asked_at: float = 0.0

    def __str__(self) -> str:
        price = "an unknown price" if self.price_usd_per_hour is None else f"{self.price_usd_per_hour:.4g} USD/h"
        return f"{self.name} at {self.cloud} (id {self.instance_id or 'unknown'}, {price})"


@dataclass(frozen=True)
class LedgerFacts:
    """`clouds`: where it ever bought. `unreadable`: why nothing is known; "" for a ledger that was read or is new."""

    clouds: frozenset[str] = frozenset()
    open: tuple[OpenEntry, ...] = ()
    unreadable: str = ""

    @property
    def cluster_ids(self) -> set[str]:
        """Whose names the open entries carry."""
        return {found for entry in self.open if (found := cluster_of(entry.name))}


def read_ledger(path: Path) -> LedgerFacts:
    """The facts of the ledger at `path`; a file that is not there says nothing."""
    if not path.exists():
        return LedgerFacts()
    said = ""
    for way in _WAYS:
        try:
            return _facts(_rows(path, way))
        except (sqlite3.Error, OSError, KeyError, TypeError, ValueError) as error:
            said = said or f"{path} cannot be read: {error}"
    return LedgerFacts(unreadable=said)


def close_entries(path: Path, clouds: Collection[str], reason: str, clock: Callable[[], float]) -> str:
    """Close what is open at these clouds, and what was never bought; returns why it could not be written, or ""."""
    if not path.exists():
        return ""
    engine = open_engine(f"sqlite:///{path}")
    try:
        ledger, now = Ledger(engine, clock), clock()
        ledger.create_tables()
        gone = [_closed(i, reason, now) for i in ledger.live() if i.cloud is None or i.cloud in clouds]
        ledger.write(gone, [Event(now, intent.name, f"gone: {reason}") for intent in gone])
    except (SQLAlchemyError, OSError) as error:
        return f"{path} cannot be written: {error}"
    finally:
        engine.dispose()
    return ""


def _closed(intent: Intent, reason: str, now: float) -> Intent:
    state = IntentState.FAILED if intent.bought_at is None else IntentState.ENDED
    return replace(intent, state=state, ended_at=now, reason=intent.reason or reason)


def _rows(path: Path, way: str) -> list[Mapping[str, Any]]:
    address = f"file:{quote(str(path))}?{way}"
    with closing(sqlite3.connect(address, uri=True, timeout=_LOCK_TIMEOUT_S)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (intents.name,)).fetchone():
            return []
        connection.row_factory = sqlite3.Row
        rows = connection.execute(f"SELECT * FROM {intents.name} WHERE cloud IS NOT NULL").fetchall()  # noqa: S608
    return [dict(row) for row in rows]


def _facts(rows: list[Mapping[str, Any]]) -> LedgerFacts:
    clouds = frozenset(str(row["cloud"]) for row in rows)
    return LedgerFacts(clouds, tuple(_entry(row) for row in rows if row["state"] not in _OVER))


def _entry(row: Mapping[str, Any]) -> OpenEntry:
    asked_at = max(float(row.get(column) or 0.0) for column in ("buying_at", "answered_at", "bought_at"))
    price = row.get("price_usd_per_hour")
    price = row.get("accepted_usd_per_hour") if price is None else price
    return OpenEntry(
        str(row["name"]),
        str(row["cloud"]),
        str(row.get("instance_id") or ""),
        price if price is None else float(price),
        asked_at,
    )
