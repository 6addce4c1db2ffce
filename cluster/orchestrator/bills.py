"""The clouds' bills against the ledger: how the orchestrator checks them, and how a command does without it."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine

from autoscaler.billing.comparison import Bounds
from autoscaler.billing.reconciliation import Reconciliation
from autoscaler.billing.records import BillRecords
from autoscaler.errors import CloudError
from autoscaler.names import is_launch_of
from autoscaler.records.ledger import Ledger
from cluster.config.schema import RENTED, BudgetSettings, Settings
from cluster.config.state_directory import StateDir
from cluster.orchestrator.cloud_factory import provider
from cluster.storage.database import open_engine


def open_ledger(state: StateDir) -> Engine:
    """An Engine of its own for the ledger's database: nothing waits for it that has to end machines."""
    return open_engine(f"sqlite:///{state.ledger_path}")


def reconciliation(
    settings: BudgetSettings,
    engine: Engine,
    clouds: Mapping[str, object],
    cluster_id: str,
    clock: Callable[[], float],
) -> Reconciliation:
    """What compares the bills of these clouds with the ledger in this database, and keeps what it finds there."""
    bounds = Bounds(settings.bill_warn_usd, settings.bill_warn_share, settings.bill_settled_s)
    ledger, records = Ledger(engine, clock), BillRecords(engine)
    return Reconciliation(ledger, records, clouds, lambda name: is_launch_of(cluster_id, name), clock, bounds)


def with_bills(fleet: Mapping[str, Any], bills: Reconciliation) -> dict[str, Any]:
    """The fleet's view with the latest bills, and what is worth a warning among the warnings about money."""
    spending = fleet["spending"]
    warned = spending | {"warnings": [*spending["warnings"], *bills.warnings()]}
    return {**fleet, "spending": warned, "bills": bills.view()}


def add_bill_route(app: FastAPI, bills: Reconciliation, allowed: Any) -> None:
    """Check all bills now."""

    @app.post("/v1/bills:check", dependencies=[allowed])
    async def check() -> dict[str, Any]:
        return {"bills": await bills.check()}


def check_directly(
    settings: Settings,
    state: StateDir,
    cluster_id: str,
    environment: Mapping[str, str],
    home: Path,
    clock: Callable[[], float],
) -> list[dict[str, Any]]:
    """Ask every rented cloud for which there is a key, and keep what is found in the ledger that was left here."""
    engine = open_ledger(state)
    ledger = Ledger(engine, clock)
    ledger.create_tables()
    bought = {intent.cloud for intent in ledger.bought_since(0.0)}
    unasked: list[dict[str, Any]] = []

    async def check() -> list[dict[str, Any]]:
        clouds: dict[str, Any] = {}
        for name in RENTED:
            try:
                clouds[name] = provider(name, settings, cluster_id, environment, home, clock)
            except CloudError as error:
                if name in bought:  # the ledger has machines there, so its bill matters
                    unasked.append({"cloud": name, "error": str(error), "machines": [], "checked_at": None})
        try:
            found = await reconciliation(settings.budgets, engine, clouds, cluster_id, clock).check()
            return [cloud for cloud in found if cloud["cloud"] in clouds]
        finally:
            for cloud in clouds.values():
                await cloud.close()

    try:
        return [*asyncio.run(check()), *unasked]
    finally:
        engine.dispose()
