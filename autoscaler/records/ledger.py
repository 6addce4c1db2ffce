"""What was wanted, bought and ended, and what it cost: a purchase is written before the money is spent.

Launches are kept for ever; of the sentences about them, the newest EVENT_ROWS. journal.py writes, and history.py holds
what views and budgets read.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from autoscaler.decisions.budget import month_start
from autoscaler.records.sentences import NAME_CHARACTERS, SENTENCE_BYTES, printable
from autoscaler.types import Intent, IntentState, Promise, Trust

# How many launches a new process reads: the newest of all and of each cloud, and the latest of each node type.
_NEWEST, _OF_A_TYPE = 100, 20
_EVENTS_SHOWN = 20
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
    Column("transfer_usd", Float),
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
_BILLED = (
    select(intents.c.cloud, intents.c.node_type, func.sum(intents.c.ended_at - intents.c.bought_at))
    .where(intents.c.ended_at > intents.c.bought_at, intents.c.cloud.is_not(None))
    .group_by(intents.c.cloud, intents.c.node_type)
)
_EVENTS = select(events.c.at, events.c.name, events.c.sentence).order_by(events.c.id.desc()).limit(bindparam("most"))


@dataclass(frozen=True)
class Event:
    """Something that happened, in a sentence; `name` is the launch, cloud or budget that it is about."""

    at: float
    name: str
    sentence: str


@dataclass(frozen=True)
class Past:
    """What a new process has to know of the ledger.

    `live`: launches that are not over. `over`: those that are and that still matter: this month's, the newest, and the
    latest of each node type and cloud. `billed_s`: seconds billed for all that are over, by (cloud, node type).
    """

    live: Sequence[Intent] = ()
    over: Sequence[Intent] = ()
    billed_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    events: Sequence[Event] = ()


def create_missing(engine: Engine, wanted: MetaData) -> None:
    """Create tables that are missing, and columns of theirs that an older AIMA did not know."""
    wanted.create_all(engine)
    found = inspect(engine)
    known = {table.name: {each["name"] for each in found.get_columns(table.name)} for table in wanted.sorted_tables}
    with engine.begin() as connection:
        for table in wanted.sorted_tables:
            for column in table.c:
                if column.name not in known[table.name]:
                    kind = column.type.compile(engine.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")


class Ledger:
    """The record on an Engine of its own. Every method is one transaction; it blocks: call it beside the event loop."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock
        self._untrimmed = _TRIM_EVERY  # after a restart, nobody knows how many there are

    def create_tables(self) -> None:
        """Create what is missing: tables, and columns that an older AIMA did not know."""
        create_missing(self._engine, metadata)

    def write(self, changed: Iterable[Intent], said: Sequence[Event] = ()) -> None:
        """Write these launches as they are now, new or known, and what was said of them."""
        with self._engine.begin() as connection:
            for intent in changed:
                row = _row(intent)
                if connection.execute(_UPDATE_INTENT, {"key": intent.name, **row}).rowcount == 0:
                    connection.execute(_INSERT_INTENT, row)
            if said:
                connection.execute(_INSERT_EVENT, [_event_row(event) for event in said])
                self._trim(connection, len(said))

    def read(self) -> Past:
        """What a new process has to know. Tables are created where they are missing and can be."""
        with contextlib.suppress(SQLAlchemyError):  # what cannot be written can often be read
            self.create_tables()
        with self._engine.connect() as connection:
            live = connection.execute(select(intents).where(intents.c.state.not_in(_OVER)))
            return Past(
                sorted(map(_intent, live), key=lambda intent: intent.wanted_at),
                self._over(connection),
                {(cloud, node_type): float(s) for cloud, node_type, s in connection.execute(_BILLED)},
                [Event(*row) for row in connection.execute(_EVENTS, {"most": _EVENTS_SHOWN})][::-1],
            )

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

    def bought_since(self, since: float) -> list[Intent]:
        """Everything that was bought from then on (unix seconds), over or not."""
        with self._engine.connect() as connection:
            return [_intent(row) for row in connection.execute(select(intents).where(intents.c.bought_at >= since))]

    def recent_events(self, limit: int = _EVENTS_SHOWN) -> list[dict[str, Any]]:
        """The newest sentences, oldest of them first: at (unix seconds), name, sentence."""
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(_EVENTS, {"most": limit})][::-1]

    def _over(self, connection: Connection) -> list[Intent]:
        """This month's launches that are over, the newest, and the latest of each node type and cloud."""
        over = select(intents).where(intents.c.state.in_(_OVER))
        newest_end = over.order_by(intents.c.ended_at.desc())
        wanted = [
            over.where(intents.c.ended_at >= month_start(self._clock())),
            over.order_by(intents.c.wanted_at.desc()).limit(_NEWEST),
        ]
        for (node_type,) in connection.execute(select(intents.c.node_type).distinct()):
            wanted.append(newest_end.where(intents.c.node_type == node_type).limit(_OF_A_TYPE))
        for (cloud,) in connection.execute(select(intents.c.cloud).distinct()):
            wanted.append(newest_end.where(intents.c.cloud == cloud).limit(_NEWEST))
        found = {row.name: row for rows in wanted for row in connection.execute(rows)}
        return [_intent(row) for row in found.values()]

    def _trim(self, connection: Connection, added: int) -> None:
        """Now and then delete the oldest sentences: whoever causes them cannot fill the disk."""
        self._untrimmed += added
        if self._untrimmed >= _TRIM_EVERY:
            self._untrimmed = 0
            newest = select(func.max(events.c.id)).scalar_subquery()
            connection.execute(delete(events).where(events.c.id <= newest - EVENT_ROWS))


def spent_by_live_usd(live: Iterable[Intent], since: float, now: float) -> dict[str, float]:
    """What launches that are not over have cost from `since` on, by cloud, in USD."""
    spent: dict[str, float] = {}
    for intent in live:
        if intent.cloud is not None:
            seconds = min(intent.billed_s(now), max(0.0, now - since))
            usd = seconds / 3600 * (intent.price_usd_per_hour or 0.0)
            usd += (intent.transfer_usd or 0.0) if since <= (intent.billed_since or -1.0) else 0.0
            spent[intent.cloud] = spent.get(intent.cloud, 0.0) + usd
    return spent


def _event_row(event: Event) -> dict[str, Any]:
    name, sentence = printable(event.name)[:NAME_CHARACTERS], printable(event.sentence)
    return {"at": event.at, "name": name, "sentence": sentence}


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
