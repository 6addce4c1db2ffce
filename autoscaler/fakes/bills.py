"""What fake clouds tell of their bills: RunPod's by pod and day, Vast.ai's by contract and page. Wrong on command."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from autoscaler.fakes.account import Account, Machine
from autoscaler.fakes.control import perform
from autoscaler.fakes.faults import Strict

_DAY_S = 86_400.0
_ODD_RUNPOD: tuple[Any, ...] = (
    None,
    7,
    {},
    {"podId": None, "startTime": "2026-06-01T00:00:00Z", "totalAmount": 1.0},
    {"podId": "odd", "startTime": "2026-06-01T00:00:00Z", "totalAmount": "NaN"},
    {"podId": "odd", "startTime": "2026-06-01T00:00:00Z", "totalAmount": None},
)
_ODD_VASTAI: tuple[Any, ...] = (
    None,
    7,
    {},
    {"source": "instance-x", "amount": 1},
    {"source": "instance-1", "amount": {}},
)


class RunpodQuery(Strict):
    startTime: str
    endTime: str
    bucketSize: Literal["hour", "day", "week", "month", "year"] = "day"


class VastaiQuery(Strict):
    select_filters: str
    format: Literal["table", "tree"] = "table"
    latest_first: Literal["true", "false"] = "true"
    limit: Annotated[str, Field(pattern=r"^[1-9]\d*$")] = "100"
    after_token: Annotated[str, Field(pattern=r"^\d+$")] = "0"  # noqa: S105 - a place in a list


def add_runpod_route(app: FastAPI, account: Account, allow: Callable[[str], None]) -> None:
    """GET /v2/billing/pods, in days."""

    @app.get("/v2/billing/pods")
    async def pods(query: Annotated[RunpodQuery, Query()], authorization: Annotated[str, Header()] = "") -> Response:
        allow(authorization)
        return await perform(account, "bill", lambda _fault: JSONResponse(_runpod_bill(account, query)))


def add_vastai_route(app: FastAPI, account: Account, allowed: Any) -> None:
    """GET /api/v0/charges/, in pages."""

    @app.get("/api/v0/charges/", dependencies=[allowed])
    async def charges(query: Annotated[VastaiQuery, Query()]) -> Response:
        return await perform(account, "bill", lambda _fault: _vastai_page(account, query))


def _amount_usd(account: Account, machine: Machine, since: float, until: float) -> float:
    """What a machine costs of that time, as far as the bill knows already."""
    now, behaviour = account.now(), account.behaviour
    if machine.name in behaviour.unbilled:
        return 0.0
    ended = now if machine.ended_at is None else min(now, machine.ended_at)
    seconds = min(ended, until, now - behaviour.bill_lag_s) - max(machine.created_at, since)
    return max(0.0, seconds) / 3600 * machine.price_usd_per_hour * behaviour.bill_factor


def _runpod_bill(account: Account, query: RunpodQuery) -> dict[str, Any]:
    first, last = (datetime.fromisoformat(text).timestamp() for text in (query.startTime, query.endTime))
    records = [
        record
        for machine in account.machines.values()
        for record in _days(account, machine, first - first % _DAY_S, min(last, account.now() + _DAY_S))
    ]
    total = {
        "totalAmount": sum(r["totalAmount"] for r in records),
        "gpuAmount": 0.0,
        "cpuAmount": 0.0,
        "diskAmount": 0.0,
    }
    unique = len({record["podId"] for record in records})
    shown = [*records, *_ODD_RUNPOD] if account.behaviour.bill_odd_rows else records
    asked = {"startTime": query.startTime, "endTime": query.endTime, "bucketSize": query.bucketSize}
    told = {"query": asked, "recordCount": len(shown), "uniquePodCount": unique, "totals": total}
    return {"records": shown, "metadata": told}


def _days(account: Account, machine: Machine, first: float, last: float) -> Iterator[dict[str, Any]]:
    day = max(first, machine.created_at - machine.created_at % _DAY_S)
    while day < last:
        usd = _amount_usd(account, machine, day, day + _DAY_S)
        if usd:
            yield {
                "startTime": _iso(day),
                "endTime": _iso(day + _DAY_S),
                "podId": machine.machine_id,
                "totalAmount": usd,
                "gpuAmount": usd,
                "cpuAmount": 0.0,
                "diskAmount": 0.0,
            }
        day += _DAY_S


def _vastai_page(account: Account, query: VastaiQuery) -> Response:
    try:
        day = json.loads(query.select_filters)["day"]
        since, until = float(day["gte"]), float(day["lte"])
    except (ValueError, KeyError, TypeError):
        told = "Must provide both 'day' gte and lte filters for instance charges"
        return JSONResponse({"success": False, "msg": told}, 400)
    rows = [row for machine in account.machines.values() for row in _contract(account, machine, since, until)]
    rows += _ODD_VASTAI if account.behaviour.bill_odd_rows else ()
    first, size = int(query.after_token), min(int(query.limit), account.behaviour.page_size, 500)
    page, following = rows[first : first + size], first + size
    return JSONResponse(
        {
            "success": True,
            "count": len(page),
            "total": len(rows),
            "next_token": str(following) if following < len(rows) else None,
            "results": page,
        }
    )


def _contract(account: Account, machine: Machine, since: float, until: float) -> Iterator[dict[str, Any]]:
    usd = round(_amount_usd(account, machine, since, until), 3)
    if not usd:
        return
    start, end = int(machine.created_at), int(account.now() if machine.ended_at is None else machine.ended_at)
    gpu = {"start": start, "end": end, "type": "gpu", "source": None, "description": "", "amount": usd}
    yield {
        "start": start,
        "end": end,
        "type": "instance",
        "source": f"instance-{machine.machine_id}",
        "description": f"Instance {machine.machine_id} Charges",
        "amount": usd,
        "metadata": {"label": machine.name} if machine.name else {},
        "items": [gpu | {"metadata": {}, "items": []}],
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
