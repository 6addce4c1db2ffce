"""What has been spent: by the ledger, as the fleet tells it, and by what was counted for analyses."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select

from serve_apps.analyses import SegmentState
from serve_apps.store.tables import analyses, reading, segments

_ALL = "all clouds"  # how the fleet names everything together
_SPENT = ("burn_usd_per_hour", "day_usd", "month_usd")
_LIMITS = ("per_hour_usd", "per_day_usd", "per_month_usd")


def month_start(now: float) -> float:
    """When the month of `now` began (both epoch seconds), in UTC."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def report(fleet: Mapping[str, Any]) -> dict[str, Any]:
    """What machines cost and may cost, by the fleet's `spending`; nulls where the fleet does not tell."""
    spending = fleet.get("spending") or {}
    scopes, limits = spending.get("scopes") or {}, spending.get("limits") or {}
    clouds = sorted({*scopes, *limits} - {_ALL})
    return {
        **_scope(scopes.get(_ALL), limits.get(_ALL)),
        "by_cloud": {cloud: _scope(scopes.get(cloud), limits.get(cloud)) for cloud in clouds},
        "warnings": list(spending.get("warnings") or ()),
    }


def _scope(spent: Mapping[str, Any] | None, limits: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: (spent or {}).get(name) for name in _SPENT} | {
        "limits": {name: (limits or {}).get(name) for name in _LIMITS}
    }


def of_analyses(engine: Engine, since: float) -> dict[str, Any]:
    """What analyses asked for since then have cost: in all, by API key ("root": the deployment's own token), and for
    each minute of media that was analysed."""
    a = analyses.c
    sums = select(a.key_id, func.sum(a.cost_usd)).where(a.created_at >= since).group_by(a.key_id)
    with reading(engine) as connection:
        by_key = {key or "root": usd or 0.0 for key, usd in connection.execute(sums)}
        minutes = float(connection.execute(select(func.sum(_media_s(since).c.media_s))).scalar() or 0.0) / 60
    total = sum(by_key.values())
    return {
        "analyses_usd": round(total, 6),
        "by_key": {key: round(usd, 6) for key, usd in by_key.items()},
        "media_minutes": round(minutes, 3),
        "usd_per_media_minute": round(total / minutes, 6) if minutes else None,
    }


def _media_s(since: float) -> Any:
    """The seconds of media that each analysis has done: what both lanes looked at counts once."""
    s = segments.c
    of_lane = (
        select(s.analysis_id, func.sum(s.end_s - s.start_s).label("media_s"))
        .join(analyses, analyses.c.id == s.analysis_id)
        .where(s.state == SegmentState.DONE.value, analyses.c.created_at >= since)
        .group_by(s.analysis_id, s.lane)
        .subquery()
    )
    return select(func.max(of_lane.c.media_s).label("media_s")).group_by(of_lane.c.analysis_id).subquery()
