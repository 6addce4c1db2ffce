"""The orchestrator's small HTTP API, on loopback only: each caller holds a token for what it may do.

Ray's autoscaler has the `nodes` token, the service reads the fleet with the `fleet` token, a worker joins with its
one-time token. Every answer comes from memory: no call waits for the ledger or a cloud, but for the end of a drain.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from autoscaler.errors import Draining, LedgerUnavailable, UnknownNodeType
from autoscaler.types import DRAINING, Activity, Intent
from cluster.orchestrator.bills import add_bill_route
from cluster.orchestrator.join_tokens import Refused
from cluster.orchestrator.orchestrator import Orchestrator

_DRAIN_TIMEOUT_S = 60.0


class LaunchBody(BaseModel):
    """What Ray's autoscaler asks for; the tags come back unchanged with each node."""

    node_type: str
    count: int
    tags: dict[str, str]
    call_id: str


class NamesBody(BaseModel):
    names: list[str]


class ActivityBody(BaseModel):
    name: str
    in_use: bool
    reasons: tuple[str, ...]


class ActivitiesBody(BaseModel):
    nodes: list[ActivityBody]


class JoinBody(BaseModel):
    name: str
    token: str


class NameBody(BaseModel):
    name: str


def create_app(orchestrator: Orchestrator) -> FastAPI:
    """The orchestrator's HTTP API."""
    reconciler = orchestrator.reconciler

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        work = asyncio.create_task(orchestrator.run(stop))
        yield
        stop.set()
        await work

    app = FastAPI(title="AIMA orchestrator", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    nodes_only = _requires(orchestrator, "nodes")

    @app.exception_handler(LedgerUnavailable)
    async def unavailable(_request: Request, error: LedgerUnavailable) -> Response:
        return JSONResponse({"detail": str(error)}, 503)

    @app.get("/v1/nodes", dependencies=[nodes_only])
    async def list_nodes() -> dict[str, Any]:
        now, drain_s = orchestrator.clock(), orchestrator.settings.scaling.drain_s
        return {"nodes": [_as_node(intent, now, drain_s) for intent in reconciler.demand.nodes()]}

    @app.post("/v1/nodes", status_code=201, dependencies=[nodes_only])
    async def launch(body: LaunchBody) -> dict[str, Any]:
        try:
            return {"names": reconciler.demand.launch(body.node_type, body.count, body.tags, body.call_id)}
        except UnknownNodeType as error:
            raise HTTPException(422, str(error)) from None
        except Draining as error:
            raise HTTPException(503, str(error)) from None

    @app.post("/v1/nodes:observe", status_code=204, dependencies=[nodes_only])
    async def observe(body: ActivitiesBody) -> None:
        reconciler.activities.observe({node.name: Activity(node.in_use, node.reasons) for node in body.nodes})

    @app.post("/v1/nodes:terminate", status_code=202, dependencies=[nodes_only])
    async def terminate(body: NamesBody) -> dict[str, Any]:
        reconciler.demand.terminate(body.names, "Ray's autoscaler has no more work for it")
        return {"names": body.names}

    @app.post("/v1/drain", dependencies=[nodes_only])
    async def drain() -> dict[str, Any]:
        await reconciler.drain(_DRAIN_TIMEOUT_S)
        return reconciler.fleet() | {"proved": orchestrator.askable()}

    add_bill_route(app, orchestrator.bills, nodes_only)
    _add_reader_routes(app, orchestrator)
    _add_worker_routes(app, orchestrator)
    return app


def _add_reader_routes(app: FastAPI, orchestrator: Orchestrator) -> None:
    """What the service reads, with a token that changes nothing."""
    readers = _requires(orchestrator, "nodes", "fleet")

    @app.get("/v1/fleet", dependencies=[readers])
    async def fleet() -> dict[str, Any]:
        return orchestrator.fleet()

    @app.get("/metrics", dependencies=[readers])
    async def metrics() -> Response:
        return Response(orchestrator.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _add_worker_routes(app: FastAPI, orchestrator: Orchestrator) -> None:
    """The two calls a worker may make, each with a token of its own."""

    @app.post("/v1/join")
    async def join(body: JoinBody) -> dict[str, Any]:
        try:
            return orchestrator.admit(body.name, body.token)
        except Refused as error:
            raise HTTPException(403, str(error)) from None

    @app.post("/v1/joined", status_code=204)
    async def joined(body: NameBody, request: Request) -> None:
        try:
            orchestrator.joins.check_report(body.name, _bearer(request))
        except Refused as error:
            raise HTTPException(403, str(error)) from None
        orchestrator.reconciler.reports.joined(body.name)


def _as_node(intent: Intent, now: float, drain_s: float) -> dict[str, Any]:
    """`drain`: for how many seconds the work of a node that takes no more may go on, and why; None for any other."""
    since, drain = intent.phases.get(DRAINING), None
    if since is not None:
        drain = {"left_s": max(0.0, drain_s - (now - since)), "reason": intent.reason}
    running = intent.joined_at is not None
    return {"name": intent.name, "tags": dict(intent.tags), "running": running, "drain": drain}


def _requires(orchestrator: Orchestrator, *names: str) -> Any:
    """A dependency that lets only the holders of the named tokens in."""
    tokens = [orchestrator.state.token(name) for name in names]

    def check(request: Request) -> None:
        given = _bearer(request)
        if not any(secrets.compare_digest(given.encode(), token.encode()) for token in tokens):
            raise HTTPException(401, "a bearer token with the right scope is needed")

    return Depends(check)


def _bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")
