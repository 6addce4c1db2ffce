"""How an analysis ends: with its last segment or by a refusal, once, with its only terminal event."""

import logging
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, select, update

from pipelines.media.addresses import shown
from serve_apps.analyses import FINISHED, AnalysisState, SegmentState, analysis_state, unreadable
from serve_apps.store.events import EventKind
from serve_apps.store.tables import analyses, record_event, segments, webhook_deliveries

# What frees a row of analyses or segments.
NO_LEASE = {"lease_owner": None, "lease_until": None}
OPEN = (SegmentState.PENDING.value, SegmentState.LEASED.value)
_s = segments.c
_log = logging.getLogger(__name__)


def settle(connection: Connection, analysis: Any, now: float) -> AnalysisState:
    """End the analysis (its row is held) if all its segments have ended; its state."""
    if analysis.state != AnalysisState.RUNNING:
        return AnalysisState(analysis.state)
    states = defaultdict[int, set[SegmentState]](set)
    for index in unreadable(analysis.info):
        states[index].add(SegmentState.FAILED)
    rows = select(_s.media_index, _s.state).where(_s.analysis_id == analysis.id).distinct()
    for row in connection.execute(rows):
        states[row.media_index].add(SegmentState(row.state))
    state = analysis_state(states.values())
    if state in FINISHED:
        failed = state in (AnalysisState.PARTIAL, AnalysisState.FAILED)
        finish(connection, analysis, state, failure(connection, analysis, analysis.info) if failed else None, now)
    return state


def failure(connection: Connection, analysis: Any, infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The error of an analysis of which media have failed: the first cause, and that of each media item."""
    failed = {index: _failed(analysis, index, message) for index, message in unreadable(infos).items()}
    of_it = and_(_s.analysis_id == analysis.id, _s.state == SegmentState.FAILED.value)
    rows = select(_s.media_index, _s.error).where(of_it).order_by(_s.media_index, _s.segment_index)
    for row in connection.execute(rows):
        item = failed.setdefault(row.media_index, _failed(analysis, row.media_index, row.error))
        item["segments_failed"] += 1
    items = [failed[index] for index in sorted(failed)]
    total = sum(item["segments_failed"] for item in items)
    first = {"message": items[0]["message"], "media": items[0]["media"]}
    return first | {"segments_failed": total, "failed_media": items}


def _failed(analysis: Any, index: int, message: str) -> dict[str, Any]:
    return {"index": index, "media": shown(analysis.media[index]), "message": message, "segments_failed": 0}


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
