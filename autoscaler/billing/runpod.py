"""RunPod's bill: GET /v2/billing/pods, one record for each pod and day."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autoscaler.billing.comparison import Bill, amount_usd
from autoscaler.clouds.http import Rest
from autoscaler.clouds.rate_limits import CallKind
from autoscaler.errors import CloudError

_DAY_S = 86_400.0
_MAX_RECORDS = 200_000
_EXCERPT_CHARS = 120


async def read_bill(rest: Rest, since: float, until: float) -> Bill:
    """What each pod cost from the day of `since` to the day of `until` (unix seconds). Raises CloudError."""
    first, last = since - since % _DAY_S, until - until % _DAY_S + _DAY_S
    params = {"startTime": _iso(first), "endTime": _iso(last), "bucketSize": "day"}
    reply = await rest.get("/v2/billing/pods", params, CallKind.BILL)
    records = reply.fields().get("records")
    if not isinstance(records, list) or len(records) > _MAX_RECORDS:
        raise CloudError(f"{rest.describe(reply)}; no bill can be read from it")
    buckets: dict[tuple[str, str], float] = {}
    odd: list[object] = []
    for record in records:
        if (read := _read(record)) is None:
            odd.append(record)
            continue
        pod, day, usd = read
        buckets[pod, day] = max(usd, buckets.get((pod, day), usd))  # the same bucket again, as a late record
    usd_by_pod: dict[str, float] = {}
    for (pod, _day), usd in buckets.items():
        usd_by_pod[pod] = usd_by_pod.get(pod, 0.0) + usd
    return Bill(usd_by_pod, skipped=len(odd), example=repr(odd[0])[:_EXCERPT_CHARS] if odd else "")


def _read(record: object) -> tuple[str, str, float] | None:
    """Pod, bucket and amount, where all of them can be read."""
    fields: Mapping[str, Any] = record if isinstance(record, dict) else {}
    pod, day, usd = fields.get("podId"), fields.get("startTime"), amount_usd(fields.get("totalAmount"))
    if not isinstance(pod, str) or not pod or not isinstance(day, str) or usd is None:
        return None
    return pod, day, usd


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
