"""How an analysis ends: with its last segment or by a refusal, once, with its only terminal event."""

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from serve_apps.analyses import FINISHED, AnalysisState, SegmentState, analysis_state
from serve_apps.events import EventKind
from serve_apps.tables import analyses, record_event, segments, webhook_deliveries

# What frees a row of analyses or segments.
NO_LEASE = {"lease_owner": None, "lease_until": None}
OPEN = (SegmentState.PENDING.value, SegmentState.LEASED.value)
_s = segments.c
_log = logging.getLogger(__name__)


def settle(connection: Connection, analysis: Any, now: float) -> AnalysisState:
    """End the analysis (its row is held) if all its segments have ended; its state."""
    if analysis.state != AnalysisState.RUNNING:
        return AnalysisState(analysis.state)
    of_it = _s.analysis_id == analysis.id
    counts = connection.execute(select(_s.state, func.count()).where(of_it).group_by(_s.state))
    state = analysis_state({SegmentState(name): number for name, number in counts})
    if state in FINISHED:
        error = _first_error(connection, analysis) if state is AnalysisState.FAILED else None
        finish(connection, analysis, state, error, now)
    return state


def _first_error(connection: Connection, analysis: Any) -> dict[str, Any]:
    failed = and_(_s.analysis_id == analysis.id, _s.state == SegmentState.FAILED.value)
    first = select(segments).where(failed).order_by(_s.media_index, _s.segment_index).limit(1)
    row = connection.execute(first).one()
    number = connection.execute(select(func.count()).select_from(segments).where(failed)).scalar_one()
    return {"message": row.error, "media": analysis.media[row.media_index], "segments_failed": number}


def finish(
    connection: Connection, analysis: Any, state: AnalysisState, error: Mapping[str, Any] | None, now: float
) -> None:
    """Write the end, its event and its webhook's delivery; the caller holds the row and saw that it had not ended."""
    values = {"state": state.value, "finished_at": now, "error": None if error is None else dict(error)}
    update_analysis(connection, analysis.id, values | NO_LEASE)
    record_event(connection, analysis.id, now, EventKind(state.value), {"error": error} if error else {})
    reason = f": {error['message']}" if error else ""
    _log.info("%s after %.1f s%s", state.value, now - analysis.created_at, reason, extra={"analysis": analysis.id})
    if analysis.webhook:
        delivery = {"id": f"wd_{secrets.token_hex(8)}", "analysis_id": analysis.id, "event": state.value}
        due = {"created_at": now, "next_at": now, "state": "pending"}
        connection.execute(webhook_deliveries.insert().values(delivery | due))


def update_analysis(connection: Connection, analysis_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of the analysis."""
    connection.execute(update(analyses).where(analyses.c.id == analysis_id).values(values))
