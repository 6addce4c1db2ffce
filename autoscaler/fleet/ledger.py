"""What was wanted, bought and ended, and what it cost: written before the money is spent, kept for ever.

Launches are kept for ever; of the sentences about them, the newest EVENT_ROWS.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)

from autoscaler.decisions.selection import Experience
from autoscaler.fleet.sentences import NAME_CHARACTERS, SENTENCE_BYTES, printable
from autoscaler.types import STRAY, Intent, IntentState, Promise, Trust

_SAMPLE = 20
# Weeks of a busy fleet. A sentence is at most SENTENCE_BYTES long, so all of them take less than 20 MB of a volume of
# 1 GiB, whoever causes them.
EVENT_ROWS = 20_000
_TRIM_EVERY = 500
# A reason may hold two sentences: why it ended, and how its log ends.
_REASON_BYTES = 2 * SENTENCE_BYTES
_OVER = (IntentState.ENDED.value, IntentState.FAILED.value)
_FIELDS = tuple(f.name for f in fields(Intent))
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
    Column("wanted_at", Float, nullable=False, index=True),
    Column("buying_at", Float),
    Column("answered_at", Float),
    Column("bought_at", Float),
    Column("joined_at", Float),
    Column("ended_at", Float, index=True),
    Column("reason", Text, nullable=False, default=""),
    Column("gpu_name", String(64)),
    Column("region", String(64)),
    Column("machine_id", String(128)),
    Column("accepted_usd_per_hour", Float),
    Column("phases", JSON, nullable=False),
    Column("rival_of", String(128)),
    Column("broken", Boolean, nullable=False),
    Column("ending_at", Float),
    Column("listed_at", Float),
    Column("promise", JSON),
)

events = Table(
    "launch_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("name", String(128), nullable=False, index=True),
    Column("sentence", Text, nullable=False),
)


# Built once: to build a statement costs more than to run it.
_INSERT_INTENT, _INSERT_EVENT = insert(intents), insert(events)
_UPDATE_INTENT = (
    update(intents)
    .where(intents.c.name == bindparam("key"))
    .values({column.name: bindparam(column.name) for column in intents.c if column.name != "name"})
)
_OLDEST_SEEN = case((intents.c.bought_at < bindparam("since"), bindparam("since")), else_=intents.c.bought_at)
_SPENT = (
    select(intents.c.cloud, func.sum((intents.c.ended_at - _OLDEST_SEEN) / 3600 * intents.c.price_usd_per_hour))
    .where(intents.c.ended_at > bindparam("since"), intents.c.bought_at.is_not(None), intents.c.cloud.is_not(None))
    .group_by(intents.c.cloud)
)
_BILLED = (
    select(intents.c.cloud, intents.c.node_type, func.sum(intents.c.ended_at - intents.c.bought_at))
    .where(intents.c.ended_at > intents.c.bought_at, intents.c.cloud.is_not(None))
    .group_by(intents.c.cloud, intents.c.node_type)
)
_BOUGHT = (
    select(intents)
    .where(intents.c.cloud == bindparam("cloud"), intents.c.bought_at.is_not(None), intents.c.node_type != STRAY)
    .order_by(intents.c.wanted_at.desc())
    .limit(_SAMPLE * 5)
)


class Ledger:
    """The write-ahead record on an Engine of its own. Every method is one committed transaction."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock
        self._untrimmed = _TRIM_EVERY  # after a restart, nobody knows how many there are

    def create_tables(self) -> None:
        """Create what is missing: tables, and columns that an older AIMA did not know."""
        metadata.create_all(self._engine)
        known = {column["name"] for column in inspect(self._engine).get_columns(intents.name)}
        with self._engine.begin() as connection:
            for column in intents.c:
                if column.name not in known:
                    kind = column.type.compile(self._engine.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {intents.name} ADD COLUMN {column.name} {kind}")

    def want(
        self, name: str, node_type: str, tags: Mapping[str, str], sentence: str, rival_of: str | None = None
    ) -> Intent:
        """Write down a new intent."""
        intent = Intent(name, node_type, IntentState.WANTED, self._clock(), dict(tags), rival_of=rival_of)
        with self._engine.begin() as connection:
            connection.execute(_INSERT_INTENT, _row(intent))
            self._tell(connection, intent.wanted_at, name, sentence)
        return intent

    def change(self, intent: Intent, sentence: str, **values: Any) -> Intent:
        """Write the intent with other `values`, and why; returns it as it is now."""
        changed = replace(intent, **values)
        with self._engine.begin() as connection:
            connection.execute(_UPDATE_INTENT, {"key": intent.name, **_row(changed)})
            self._tell(connection, self._clock(), intent.name, sentence)
        return changed

    def keep(self, intent: Intent, sentence: str) -> Intent:
        """Write an intent that is new or, when its name is known, that goes on after it seemed to be over."""
        known = self.find(intent.name)
        if known is not None:
            again = {"state": intent.state, "ended_at": None, "ending_at": intent.ending_at, "reason": intent.reason}
            return self.change(known, sentence, **again)
        with self._engine.begin() as connection:
            connection.execute(_INSERT_INTENT, _row(intent))
            self._tell(connection, self._clock(), intent.name, sentence)
        return intent

    def find(self, name: str) -> Intent | None:
        """The intent of this name, over or not."""
        with self._engine.connect() as connection:
            row = connection.execute(select(intents).where(intents.c.name == name)).first()
        return None if row is None else _intent(row)

    def note(self, subject: str, sentence: str) -> None:
        """Write a sentence about a cloud, a budget or a machine that no launch claims."""
        with self._engine.begin() as connection:
            self._tell(connection, self._clock(), subject, sentence)

    def _tell(self, connection: Connection, at: float, name: str, sentence: str) -> None:
        """Write a sentence, and now and then delete the oldest: whoever causes them cannot fill the disk."""
        values = {"at": at, "name": printable(name)[:NAME_CHARACTERS], "sentence": printable(sentence)}
        connection.execute(_INSERT_EVENT, values)
        self._untrimmed += 1
        if self._untrimmed >= _TRIM_EVERY:
            self._untrimmed = 0
            newest = select(func.max(events.c.id)).scalar_subquery()
            connection.execute(delete(events).where(events.c.id <= newest - EVENT_ROWS))

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

    def last_ended(self, node_type: str, limit: int = _SAMPLE) -> list[Intent]:
        """The launches of a node type that ended last, in the order of their end."""
        rows = select(intents).where(intents.c.node_type == node_type, intents.c.ended_at.is_not(None))
        with self._engine.connect() as connection:
            newest = connection.execute(rows.order_by(intents.c.ended_at.desc()).limit(limit))
            return [_intent(row) for row in newest][::-1]

    def recent_events(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest sentences, oldest of them first: at (unix seconds), name, sentence."""
        rows = select(events.c.at, events.c.name, events.c.sentence).order_by(events.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(rows)][::-1]

    def experiences(self, cloud: str) -> dict[tuple[str, str | None], Experience]:
        """What the last 20 launches of each GPU at `cloud` were like, by (cloud, GPU)."""
        seen: dict[str | None, list[Intent]] = {}
        with self._engine.connect() as connection:
            for intent in map(_intent, connection.execute(_BOUGHT, {"cloud": cloud})):
                seen.setdefault(intent.gpu_name, []).append(intent)
        return {(cloud, gpu): Experience.of(launches[:_SAMPLE]) for gpu, launches in seen.items()}

    def usual_boot_s(self, cloud: str) -> float | None:
        """The median of the cloud's last 20 boots, from the purchase to the joined node; None without a history."""
        joined = select(intents).where(intents.c.cloud == cloud, intents.c.joined_at.is_not(None))
        with self._engine.connect() as connection:
            rows = connection.execute(joined.order_by(intents.c.wanted_at.desc()).limit(_SAMPLE))
            return Experience.of([_intent(row) for row in rows]).usual_boot_s

    def spent_usd(self, since: float) -> dict[str, float]:
        """What launches that are over have cost from `since` (unix seconds) on, by cloud, in USD."""
        with self._engine.connect() as connection:
            rows = connection.execute(_SPENT, {"since": since})
            return {cloud: float(usd or 0.0) for cloud, usd in rows}

    def billed_s(self) -> dict[tuple[str, str], float]:
        """Seconds billed for launches that are over, by (cloud, node type)."""
        with self._engine.connect() as connection:
            return {(cloud, node_type): float(s) for cloud, node_type, s in connection.execute(_BILLED)}


def spent_by_live_usd(live: Iterable[Intent], since: float, now: float) -> dict[str, float]:
    """What launches that are not over have cost from `since` on, by cloud, in USD."""
    spent: dict[str, float] = {}
    for intent in live:
        if intent.cloud is not None:
            seconds = min(intent.billed_s(now), max(0.0, now - since))
            spent[intent.cloud] = spent.get(intent.cloud, 0.0) + seconds / 3600 * (intent.price_usd_per_hour or 0.0)
    return spent


def _row(intent: Intent) -> dict[str, Any]:
    values = {name: getattr(intent, name) for name in _FIELDS}
    plain = {"state": intent.state.value, "tags": dict(intent.tags), "phases": dict(intent.phases)}
    return values | plain | {"promise": asdict(intent.promise), "reason": printable(intent.reason, _REASON_BYTES)}


def _intent(row: Any) -> Intent:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Intent(**values | {"state": IntentState(row.state), "promise": _promise(row.promise)})


def _promise(written: Mapping[str, Any] | None) -> Promise:
    """Launches of an AIMA that did not write it down have none."""
    if not written:
        return Promise()
    trust = written["trust"]
    return Promise(
        tuple(written["regions"]), None if trust is None else Trust(trust), written["gpu"], written["gpu_count"]
    )
