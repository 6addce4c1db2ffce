"""What was found, kept: each machine's bill beside the ledger, and each cloud's latest reconciliation."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, Engine, Float, Integer, MetaData, String, Table, Text, delete, insert, select

from autoscaler.billing.comparison import Comparison, Verdict
from autoscaler.records.ledger import create_missing

metadata = MetaData()

billed_machines = Table(
    "billed_machines",
    metadata,
    Column("cloud", String(64), primary_key=True),
    Column("instance_id", String(128), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("ledger_usd", Float, nullable=False),
    Column("billed_usd", Float),
    Column("difference_usd", Float, nullable=False),
    Column("verdict", String(64), nullable=False),
    Column("checked_at", Float, nullable=False),
)

reconciliations = Table(
    "bill_reconciliations",
    metadata,
    Column("cloud", String(64), primary_key=True),
    Column("asked_at", Float, nullable=False),
    Column("checked_at", Float),
    Column("ledger_usd", Float, nullable=False),
    Column("billed_usd", Float, nullable=False),
    Column("difference_usd", Float, nullable=False),
    Column("others_usd", Float, nullable=False),
    Column("exceeds", Boolean, nullable=False),
    Column("skipped_rows", Integer, nullable=False),
    Column("skipped_example", Text),
    Column("error", Text, nullable=False),
)


@dataclass(frozen=True)
class Skipped:
    """Rows of a bill that could not be read, and the first of them."""

    rows: int = 0
    example: str = ""


class BillRecords:
    """Tables of the ledger's database, on an Engine of its own. Every method is one committed transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create_tables(self) -> None:
        """Create what is missing: tables, and columns that an older AIMA did not know."""
        create_missing(self._engine, metadata)

    def keep(self, comparison: Comparison, skipped: Skipped, now: float) -> None:
        """Write what the comparison found, in place of what the one before it said of the same machines."""
        cloud = comparison.cloud
        machines = [
            {
                "cloud": cloud,
                "instance_id": machine.instance_id[:128],
                "name": machine.name[:128],
                "ledger_usd": machine.ledger_usd,
                "billed_usd": machine.billed_usd,
                "difference_usd": machine.difference_usd,
                "verdict": machine.verdict.value,
                "checked_at": now,
            }
            for machine in comparison.machines
        ]
        found = {
            "checked_at": now,
            "ledger_usd": comparison.ledger_usd,
            "billed_usd": comparison.billed_usd,
            "difference_usd": comparison.difference_usd,
            "others_usd": comparison.others_usd,
            "exceeds": comparison.exceeds,
            "skipped_rows": skipped.rows,
            "skipped_example": skipped.example,
            "error": "",
        }
        ids = [machine["instance_id"] for machine in machines]
        ours, theirs = billed_machines.c, reconciliations.c
        with self._engine.begin() as connection:
            connection.execute(delete(billed_machines).where(ours.cloud == cloud, ours.instance_id.in_(ids)))
            if machines:
                connection.execute(insert(billed_machines), machines)
            connection.execute(delete(reconciliations).where(theirs.cloud == cloud))
            connection.execute(insert(reconciliations), {"cloud": cloud, "asked_at": now, **found})

    def keep_failure(self, cloud: str, error: str, now: float) -> None:
        """The bill could not be had: what the one before said stands, and why there is no newer one."""
        with self._engine.begin() as connection:
            row = connection.execute(select(reconciliations).where(reconciliations.c.cloud == cloud)).first()
            nothing: dict[str, Any] = {"checked_at": None, "exceeds": False, "skipped_rows": 0, "skipped_example": ""}
            nothing |= dict.fromkeys(("ledger_usd", "billed_usd", "difference_usd", "others_usd"), 0.0)
            before = (
                dict(row._mapping)
                if row
                else nothing | {"checked_at": None, "exceeds": False, "skipped_rows": 0, "skipped_example": ""}
            )
            connection.execute(delete(reconciliations).where(reconciliations.c.cloud == cloud))
            connection.execute(
                insert(reconciliations), before | {"cloud": cloud, "asked_at": now, "error": error[:1000]}
            )

    def view(self) -> list[dict[str, Any]]:
        """The latest reconciliation of each cloud, as plain values, with the machines that are judged to differ."""
        with self._engine.connect() as connection:
            clouds = [dict(row._mapping) for row in connection.execute(select(reconciliations).order_by("cloud"))]
            differ = select(billed_machines).where(billed_machines.c.verdict.in_([v.value for v in _DIFFER]))
            machines = [dict(row._mapping) for row in connection.execute(differ.order_by("cloud", "instance_id"))]
        return [cloud | {"machines": [m for m in machines if m["cloud"] == cloud["cloud"]]} for cloud in clouds]


_DIFFER = (Verdict.TOO_HIGH, Verdict.TOO_LOW, Verdict.UNKNOWN)
