"""How analyses stand, as queries: their segments added up, and who has worked on what."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from serve_apps.analyses import Busy, Lane, SegmentGroup, SegmentState
from serve_apps.tables import segments


def segment_groups(connection: Connection, analysis_ids: Sequence[str]) -> dict[str, list[SegmentGroup]]:
    """The segments of each analysis, added up by state; nothing for one that is not planned."""
    groups: dict[str, list[SegmentGroup]] = {analysis_id: [] for analysis_id in analysis_ids}
    for row in _grouped(connection, analysis_ids):
        groups[row.analysis_id].append(_group(row))
    return groups


def busy_on(connection: Connection, analysis_ids: Sequence[str]) -> list[Busy]:
    """Who has used the instances that these analyses have used, other analyses too."""
    s = segments.c
    used = select(s.instance).where(s.analysis_id.in_(analysis_ids), s.instance.is_not(None))
    rows = (
        select(s.analysis_id, s.instance, func.sum(s.busy_s).label("busy_s"))
        .where(s.instance.in_(used))
        .group_by(s.analysis_id, s.instance)
    )
    return [Busy(row.analysis_id, row.instance, row.busy_s) for row in connection.execute(rows)]


def _grouped(connection: Connection, analysis_ids: Sequence[str]) -> Sequence[Row[Any]]:
    s = segments.c
    begun = s.started_at.is_not(None).label("begun")
    return connection.execute(
        select(
            s.analysis_id,
            s.state,
            s.lane,
            begun,
            func.count().label("count"),
            func.sum(s.end_s - s.start_s).label("media_s"),
            func.sum(s.frames).label("frames"),
            func.sum(s.busy_s).label("busy_s"),
            func.min(s.started_at).label("first_begun_at"),
            # A segment that may run now must not hide behind one that waits.
            func.min(func.coalesce(s.not_before, 0.0)).label("not_before"),
        )
        .where(s.analysis_id.in_(analysis_ids))
        .group_by(s.analysis_id, s.state, s.lane, begun)
    ).all()


def _group(row: Row[Any]) -> SegmentGroup:
    return SegmentGroup(
        state=SegmentState(row.state),
        begun=bool(row.begun),
        count=row._mapping["count"],
        media_s=row.media_s,
        frames=int(row.frames),
        busy_s=row.busy_s,
        first_begun_at=row.first_begun_at,
        not_before=row.not_before or None,
        lane=Lane(row.lane),
    )
