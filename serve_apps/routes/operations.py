"""Health, readiness, metrics, instances and costs: for whoever runs the service."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from serve_apps import costs
from serve_apps.backlog import backlog
from serve_apps.context import Service
from serve_apps.keys import Scope
from serve_apps.metrics import CONTENT_TYPE
from serve_apps.problems import PROBLEM_RESPONSES, ProblemError
from serve_apps.views import iso


class CostsView(BaseModel):
    """Money in USD. `now_usd_per_hour` is what runs; the rest is since the month began (`since`, UTC).

    `machines_usd` is what the instances cost that the fleet remembers; `by_key` is the share of it that analyses have
    used, by who asked for them: less, since a boot for nothing is nobody's. `spending` is what the budgets are checked
    against: USD by hour, day and month for each cloud and all together, the limits, and warnings.
    """

    since: str
    now_usd_per_hour: float
    machines_usd: float
    by_cloud: dict[str, float]
    by_key: dict[str, float]
    spending: dict[str, Any]


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
        """What is spent: now, and since the month began."""
        since = costs.month_start(service.store.now())
        fleet = await service.fleet()
        by_key = await asyncio.to_thread(costs.by_key, service.store.engine, since)
        return CostsView(since=iso(since), **costs.report(fleet, since), by_key=by_key)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def exposition() -> Response:
        """Prometheus metrics."""
        of_fleet = await service.fleet_metrics()

        def render() -> bytes:
            found, memory = backlog(service.store.engine), service.head_memory()
            return service.metrics.render(service.store.now(), found, service.hub.open_streams, memory, of_fleet)

        return Response(await asyncio.to_thread(render), media_type=CONTENT_TYPE)

    return router
