"""Segments as rows of the database, and back."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from pipelines.media.sampling import Segment
from serve_apps.analyses import Lane, SegmentState
from serve_apps.queue.contract import ClaimedSegment, Plan, SegmentKey
from serve_apps.store.tables import analyses


def planned_rows(analysis: Any, plan: Plan) -> list[dict[str, Any]]:
    """A row for each segment of a planned analysis (its row of `analyses`)."""
    return [
        _row(analysis, media_index, lane, segment)
        for media_index, lanes in enumerate(plan)
        for lane, planned in lanes.items()
        for segment in planned
    ]


def _row(analysis: Any, media_index: int, lane: Lane, segment: Segment) -> dict[str, Any]:
    return {
        "analysis_id": analysis.id,
        "media_index": media_index,
        "segment_index": segment.index,
        "lane": lane.value,
        "priority": analysis.priority,
        "queued_at": analysis.created_at,
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "last": segment.last,
        "state": SegmentState.PENDING.value,
    }


def claimed_segments(connection: Connection, keys: Sequence[SegmentKey], rows: Iterable[Any]) -> list[ClaimedSegment]:
    """The claimed segments (their rows) with what their analyses say about them, in the order of `keys`."""
    ids = {key.analysis_id for key in keys}
    owners = {row.id: row for row in connection.execute(select(analyses).where(analyses.c.id.in_(ids)))}
    found = {}
    for row in rows:
        analysis = owners[row.analysis_id]
        key = SegmentKey(row.analysis_id, row.media_index, row.segment_index, Lane(row.lane))
        found[key] = ClaimedSegment(
            key=key,
            media_uri=analysis.media[key.media_index],
            info=analysis.info[key.media_index],
            analyzers=tuple(analysis.analyzers),
            options=analysis.options,
            start_s=row.start_s,
            end_s=row.end_s,
            last=row.last,
            attempts=row.attempts,
            traceparent=analysis.traceparent or "",
        )
    return [found[key] for key in keys]
