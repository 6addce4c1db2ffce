"""What has been spent, by the fleet's view and by what was counted for analyses."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select

from serve_apps.analyses import live_instances
from serve_apps.tables import analyses, reading


def month_start(now: float) -> float:
    """When the month of `now` began (both epoch seconds), in UTC."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def report(fleet: Mapping[str, Any], since: float) -> dict[str, Any]:
    """Everything of a CostsView that the fleet knows; `since` is in epoch seconds."""
    by_cloud: defaultdict[str, float] = defaultdict(float)
    for instance in fleet.get("instances", ()):
        if (instance.get("ended_at") or float("inf")) >= since:
            by_cloud[instance.get("cloud") or "none"] += float(instance.get("cost_usd") or 0.0)
    now = sum(float(i.get("price_usd_per_hour") or 0.0) for i in live_instances(fleet) if i["state"] == "bought")
    total = sum(by_cloud.values())
    return {
        "now_usd_per_hour": round(now, 6),
        "machines_usd": round(total, 6),
        "by_cloud": {cloud: round(usd, 6) for cloud, usd in by_cloud.items()},
        "spending": dict(fleet.get("spending") or {}),
    }


def by_key(engine: Engine, since: float) -> dict[str, float]:
    """USD by the API key that asked, for analyses asked for since then; "root" is the deployment's own token."""
    a = analyses.c
    sums = select(a.key_id, func.sum(a.cost_usd)).where(a.created_at >= since).group_by(a.key_id)
    with reading(engine) as connection:
        return {key or "root": round(usd or 0.0, 6) for key, usd in connection.execute(sums)}
