"""Counts what analyses cost while the fleet still knows, and stops those that have used up their budget."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, select, update

from serve_apps.analyses import FINISHED, AnalysisState
from serve_apps.api.views import counted_costs
from serve_apps.store.analysis_store import Store
from serve_apps.store.lifecycle import Lifecycle
from serve_apps.store.tables import analyses, reading, segments, writing

_a, _s = analyses.c, segments.c


def meter(store: Store, lifecycle: Lifecycle, fleet: Mapping[str, Any]) -> int:
    """Write down what each analysis on the fleet's instances has cost so far; returns how many were stopped."""
    names = [instance["name"] for instance in fleet.get("instances", ())]
    ids = _analyses_on(store.engine, names)
    if not ids:
        return 0
    counted = counted_costs(store.busy(ids), fleet)
    known = {analysis_id: cost for analysis_id, cost in counted.items() if cost is not None and analysis_id in ids}
    stopped = 0
    for analysis_id, budget in _write_down(store.engine, known):
        reason = f"its budget of {budget:g} USD is used up ({known[analysis_id]:.4f} USD); what is done is kept"
        stopped += lifecycle.cancel(analysis_id, reason)
    return stopped


def _analyses_on(engine: Engine, names: list[str]) -> list[str]:
    rows = select(_s.analysis_id).where(_s.instance.in_(names)).distinct()
    with reading(engine) as connection:
        return list(connection.execute(rows).scalars())


def _write_down(engine: Engine, costs: Mapping[str, float]) -> list[tuple[str, float]]:
    """Store the costs that have changed; the running analyses that are over their budget, and the budget."""
    over = []
    with reading(engine) as connection:
        rows = connection.execute(select(_a.id, _a.state, _a.cost_usd, _a.budget_usd).where(_a.id.in_(costs))).all()
    changed = [row for row in rows if row.cost_usd is None or abs(row.cost_usd - costs[row.id]) > 1e-9]
    if changed:
        with writing(engine) as connection:
            for row in changed:
                connection.execute(update(analyses).where(_a.id == row.id).values(cost_usd=costs[row.id]))
    for row in rows:
        if row.budget_usd is not None and AnalysisState(row.state) not in FINISHED and costs[row.id] >= row.budget_usd:
            over.append((row.id, row.budget_usd))
    return over
