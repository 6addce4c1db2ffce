"""How analyses stand, as queries: their segments added up, and who has worked on what."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, func, select

from serve_apps.analyses import Busy, Lane, SegmentGroup, SegmentState
from serve_apps.store.tables import analyses, segments

# Built once: every status is read with them, and building them took longer than running them.
_s = segments.c
_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_ANALYSES = select(analyses).where(analyses.c.id.in_(_ids))
_BUSY = (
    select(_s.analysis_id, _s.instance, func.sum(_s.busy_s).label("busy_s"))
    .where(_s.instance.in_(select(_s.instance).where(_s.analysis_id.in_(_ids), _s.instance.is_not(None))))
    .group_by(_s.analysis_id, _s.instance)
)
_begun = _s.started_at.is_not(None).label("begun")
_GROUPS = (
    select(
        _s.analysis_id,
        _s.state,
        _s.lane,
        _begun,
        func.count().label("count"),
        func.sum(_s.end_s - _s.start_s).label("media_s"),
        func.sum(_s.frames).label("frames"),
        func.sum(_s.busy_s).label("busy_s"),
        func.min(_s.started_at).label("first_begun_at"),
        # A segment that may run now must not hide behind one that waits.
        func.min(func.coalesce(_s.not_before, 0.0)).label("not_before"),
    )
    .where(_s.analysis_id.in_(_ids))
    .group_by(_s.analysis_id, _s.state, _s.lane, _begun)
)


def analyses_rows(connection: Connection, analysis_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """The rows of those analyses that exist."""
    return connection.execute(_ANALYSES, {"ids": list(analysis_ids)}).all()


def segment_groups(connection: Connection, analysis_ids: Sequence[str]) -> dict[str, list[SegmentGroup]]:
    """The segments of each analysis, added up by state; nothing for one that is not planned."""
    groups: dict[str, list[SegmentGroup]] = {analysis_id: [] for analysis_id in analysis_ids}
    for row in connection.execute(_GROUPS, {"ids": list(analysis_ids)}):
        groups[row.analysis_id].append(_group(row))
    return groups


def busy_on(connection: Connection, analysis_ids: Sequence[str]) -> list[Busy]:
    """Who has used the instances that these analyses have used, other analyses too."""
    rows = connection.execute(_BUSY, {"ids": list(analysis_ids)})
    return [Busy(row.analysis_id, row.instance, row.busy_s) for row in rows]


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
