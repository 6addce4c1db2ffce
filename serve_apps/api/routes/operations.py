"""Health, readiness, metrics, instances and costs: for whoever runs the service."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from serve_apps.api.context import Service
from serve_apps.api.problems import PROBLEM_RESPONSES, ProblemError
from serve_apps.api.views import iso
from serve_apps.monitoring.metrics import CONTENT_TYPE
from serve_apps.store import spending
from serve_apps.store.backlog import backlog
from serve_apps.store.keys import Scope


class LimitsView(BaseModel):
    """The most that may be spent, in USD; null: no limit."""

    per_hour_usd: float | None
    per_day_usd: float | None
    per_month_usd: float | None


class SpendingView(BaseModel):
    """What machines cost, in USD: `burn_usd_per_hour` is what runs now, the others since the day and the month began
    (UTC). Null while the orchestrator, which keeps the ledger, does not answer."""

    burn_usd_per_hour: float | None
    day_usd: float | None
    month_usd: float | None
    limits: LimitsView


class CostsView(SpendingView):
    """What all machines cost, and each cloud's; and what of it analyses have used that were asked for since the month
    began (`since`): less, since a boot or an idle minute for nobody is nobody's.

    What one machine costs stands in /v1/instances (`cost_usd`), what one analysis does in its view.
    """

    since: str
    by_cloud: dict[str, SpendingView]
    warnings: list[str]
    analyses_usd: float
    by_key: dict[str, float]
    media_minutes: float
    usd_per_media_minute: float | None


def open_routes(service: Service, live: Callable[[], dict[str, Any]]) -> APIRouter:
    """What answers anybody: nothing secret."""
    router = APIRouter(prefix="/v1", tags=["service"])

    @router.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the API answers."""
        return {"status": "ok"} | live()

    @router.get("/ready", responses={503: PROBLEM_RESPONSES[503]})
    async def ready() -> dict[str, Any]:
        """Whether requests can be stored: the database answers."""
        if not await asyncio.to_thread(service.store.is_ready):
            raise ProblemError(503, "the database does not answer", headers={"Retry-After": "2"})
        return {"status": "ready"}

    return router


def routes(service: Service) -> APIRouter:
    """What needs a key."""
    router = APIRouter(
        tags=["service"], dependencies=[Depends(service.gate.requires(Scope.READ))], responses=PROBLEM_RESPONSES
    )

    @router.get("/v1/instances")
    async def instances() -> dict[str, Any]:
        """The machines: which exist, why, since when and for how much."""
        return await service.fleet()

    @router.get("/v1/costs")
    async def cost_report() -> CostsView:
        """What is spent: now, today and this month, by cloud, key and minute of media, against the budgets."""
        since = spending.month_start(service.store.now())
        fleet = await service.fleet()
        used = await asyncio.to_thread(spending.of_analyses, service.store.engine, since)
        return CostsView(since=iso(since), **spending.report(fleet), **used)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def exposition() -> Response:
        """Prometheus metrics."""
        of_fleet = await service.fleet_metrics()

        def render() -> bytes:
            found, memory = backlog(service.store.engine), service.head_memory()
            return service.metrics.render(service.store.now(), found, service.hub.open_streams, memory, of_fleet)

        return Response(await asyncio.to_thread(render), media_type=CONTENT_TYPE)

    return router
