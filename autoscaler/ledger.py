"""What was wanted, bought and ended, and what it cost: written before the money is spent, kept for ever."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import JSON, Column, Engine, Float, Integer, MetaData, String, Table, Text, insert, select, update

from autoscaler.types import Intent, IntentState

_BOOT_SAMPLE = 20
_OVER = (IntentState.ENDED.value, IntentState.FAILED.value)
metadata = MetaData()

intents = Table(
    "launch_intents",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("node_type", String(64), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("tags", JSON, nullable=False),
    Column("cloud", String(64)),
    Column("offer_id", String(128)),
    Column("instance_id", String(128)),
    Column("price_usd_per_hour", Float),
    Column("usual_boot_s", Float),
    Column("wanted_at", Float, nullable=False),
    Column("buying_at", Float),
    Column("answered_at", Float),
    Column("bought_at", Float),
    Column("joined_at", Float),
    Column("ended_at", Float),
    Column("reason", Text, nullable=False, default=""),
)

events = Table(
    "launch_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("name", String(128), nullable=False, index=True),
    Column("sentence", Text, nullable=False),
)


class Ledger:
    """The write-ahead record on an Engine of its own. Every method is one committed transaction."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock

    def create_tables(self) -> None:
        """Create what is missing."""
        metadata.create_all(self._engine)

    def want(self, name: str, node_type: str, tags: Mapping[str, str], sentence: str) -> Intent:
        """Write down a new intent."""
        intent = Intent(name, node_type, IntentState.WANTED, self._clock(), dict(tags))
        with self._engine.begin() as connection:
            connection.execute(insert(intents).values(**_row(intent)))
            connection.execute(insert(events).values(at=intent.wanted_at, name=name, sentence=sentence))
        return intent

    def change(self, intent: Intent, sentence: str, **values: Any) -> Intent:
        """Write the intent with other `values`, and why; returns it as it is now."""
        changed = replace(intent, **values)
        with self._engine.begin() as connection:
            connection.execute(update(intents).where(intents.c.name == intent.name).values(**_row(changed)))
            connection.execute(insert(events).values(at=self._clock(), name=intent.name, sentence=sentence))
        return changed

    def live(self) -> list[Intent]:
        """Intents that are not over, oldest first."""
        rows = select(intents).where(intents.c.state.not_in(_OVER)).order_by(intents.c.wanted_at)
        with self._engine.connect() as connection:
            return [_intent(row) for row in connection.execute(rows)]

    def recent(self, limit: int = 100) -> list[Intent]:
        """The newest intents, oldest of them first."""
        rows = select(intents).order_by(intents.c.wanted_at.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [_intent(row) for row in connection.execute(rows)][::-1]

    def recent_events(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest sentences, oldest of them first: at (unix seconds), name, sentence."""
        rows = select(events.c.at, events.c.name, events.c.sentence).order_by(events.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(rows)][::-1]

    def usual_boot_s(self, cloud: str) -> float | None:
        """The median of the cloud's last 20 boots, from the wish to the joined node; None without a history."""
        joined = select(intents.c.wanted_at, intents.c.joined_at)
        joined = joined.where(intents.c.cloud == cloud, intents.c.joined_at.is_not(None))
        with self._engine.connect() as connection:
            rows = connection.execute(joined.order_by(intents.c.wanted_at.desc()).limit(_BOOT_SAMPLE))
            boots = [row.joined_at - row.wanted_at for row in rows]
        return statistics.median(boots) if boots else None


def _row(intent: Intent) -> dict[str, Any]:
    return asdict(intent) | {"state": intent.state.value, "tags": dict(intent.tags)}


def _intent(row: Any) -> Intent:
    values = {f.name: getattr(row, f.name) for f in fields(Intent)}
    return Intent(**values | {"state": IntentState(row.state)})
