"""The Engine for every room's tables."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url


def open_engine(url: str) -> Engine:
    """An Engine for `url`. SQLite gets WAL (readers never block the writer) and waits for locks up to 30 s."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
