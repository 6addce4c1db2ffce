"""What can be wrong with a ledger's database, done to a real one."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


class LedgerFaults:
    """Faults of one Engine, struck and mended at will: the database itself says what it says in each case.

    "read-only" and "full" are settings of SQLite's own; "locked" and "gone" are its errors without the wait for a lock.
    """

    KINDS = ("read-only", "full", "locked", "gone")

    def __init__(self, engine: Engine) -> None:
        self._engine, self.kind = engine, ""
        event.listen(engine, "before_cursor_execute", self._before)

    def strike(self, kind: str) -> None:
        """From now on, until `mend`."""
        self.mend()
        self.kind = kind
        if kind == "read-only":
            self._pragma("query_only=ON")
        elif kind == "full":
            pages = self._pragma("page_count")
            self._pragma(f"max_page_count={pages}")

    def mend(self) -> None:
        """All is well."""
        kind, self.kind = self.kind, ""
        if kind == "read-only":
            self._pragma("query_only=OFF")
        elif kind == "full":
            self._pragma("max_page_count=1073741823")

    @contextmanager
    def struck(self, kind: str) -> Iterator[None]:
        """Until the block ends."""
        self.strike(kind)
        try:
            yield
        finally:
            self.mend()

    def _pragma(self, what: str) -> Any:
        with self._engine.connect() as connection:
            done = connection.exec_driver_sql(f"PRAGMA {what}")
            return done.scalar() if done.returns_rows else None

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        writes = not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))
        if self.kind == "gone":
            raise sqlite3.DatabaseError("database disk image is malformed")
        if self.kind == "locked" and writes:
            raise sqlite3.OperationalError("database is locked")
