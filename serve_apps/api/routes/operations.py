"""Health, readiness, metrics, instances and costs: for whoever runs the service."""

import asyncio
import time
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

# A moment without a free thread is a busy service; half a minute of it is one that has to be started anew.
_FREE_WITHIN_S, _STUCK_AFTER_S = 1.0, 30.0


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


class Threads:
    """Whether the threads that wait for the database take anything more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._answered_at = clock, clock()

    async def answer(self) -> bool:
        """Whether one is free within a second."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self._clock), _FREE_WITHIN_S)
        except TimeoutError:
            return False
        self._answered_at = self._clock()
        return True

    def stuck_s(self) -> float:
        """How long ago the last one answered."""
        return self._clock() - self._answered_at


def open_routes(service: Service, live: Callable[[], dict[str, Any]]) -> APIRouter:
    """What answers anybody: nothing secret."""
    router = APIRouter(prefix="/v1", tags=["service"])

    threads = Threads()

    @router.get("/health", responses={503: PROBLEM_RESPONSES[503]})
    async def health() -> dict[str, Any]:
        """Whether the API answers, and goes on with what it was asked: its threads are not stuck."""
        if not await threads.answer() and threads.stuck_s() > _STUCK_AFTER_S:
            raise ProblemError(503, f"no thread has been free for {threads.stuck_s():.0f} s")
        return {"status": "ok"} | live()

    @router.get("/ready", responses={503: PROBLEM_RESPONSES[503]})
    async def ready() -> dict[str, Any]:
        """Whether requests can be stored: a thread is free, and the database answers."""
        if not await threads.answer():
            raise ProblemError(503, "all threads are busy; try again", headers={"Retry-After": "2"})
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
