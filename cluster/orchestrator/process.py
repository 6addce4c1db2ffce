"""The process that may spend money: the reconciler and its small API, beside Ray and out of its reach.

It keeps working while Ray is down. Ray's autoscaler reaches it with the `nodes` token, the service reads the fleet
with the `fleet` token, a worker joins with its one-time token. It listens on loopback only.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from autoscaler.clouds.registry import load_provider
from autoscaler.errors import CloudError, Draining, UnknownCloud, UnknownNodeType
from autoscaler.fleet.ledger import Ledger
from autoscaler.fleet.reconciler import Reconciler
from autoscaler.types import DRAINING, Activity, Equipment, Intent, IntentState, LaunchRequest, NodeType, Offer
from cluster.config.child_environment import without_secrets
from cluster.config.loader import load_settings
from cluster.config.node_resources import OBJECT_STORE_BYTES, resource_flags
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.orchestrator.cloud_factory import budgets, node_types, pace, policy, providers
from cluster.orchestrator.join_tokens import Joins, Refused
from cluster.orchestrator.metrics import FleetMetrics
from cluster.orchestrator.overlay_server import Gateway, ReconcilerFleet
from cluster.overlay.addresses import first_free
from cluster.overlay.ports import is_free
from cluster.steady_clock import SteadyClock
from cluster.storage.database import open_engine
from pipelines import logs

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


class Orchestrator:
    """Composes ledger, clouds and reconciler from settings; what the API below does, it does."""

    def __init__(self, settings: Settings, state: StateDir, card: ClusterCard) -> None:
        self.state, self.card, self.settings = state, card, settings
        self.clock = SteadyClock(kept=state.clock_path)
        lifetime_s = settings.scaling.join_window_s
        self.joins = Joins(self.clock, state.path / "overlay" / "pending.json", lifetime_s)
        self._next_block = int((card.base_port - 10_000) / 64) + 1
        ledger_path = state.path / "ledger.db"
        ledger_path.touch(mode=0o600)  # what SQLite puts beside it is no more open
        ledger = Ledger(open_engine(f"sqlite:///{ledger_path}"), self.clock)
        ledger.create_tables()
        self.metrics = FleetMetrics()
        self.reconciler = Reconciler(
            cluster_id=card.cluster_id,
            node_types=node_types(settings),
            providers=providers(settings, card.cluster_id, os.environ, Path.home(), self.clock, self._local_cloud),
            ledger=ledger,
            clock=self.clock,
            equip=self._equip,
            policy=policy(settings),
            pace=pace(),
            budgets=budgets(settings),
            measures=self.metrics,
        )
        self.metrics.watch(self.reconciler.fleet, self.reconciler.billed_s, self._lane_of)
        fleet = ReconcilerFleet(self.reconciler)
        self.gateway = (
            Gateway(settings, state, card, self.joins, fleet, self.clock) if settings.overlay.enabled else None
        )

    def _lane_of(self, node_type: str) -> str:
        shape = self.settings.node_types.get(node_type)
        return "gpu" if shape is None or shape.gpus else "cpu"

    def _local_cloud(self) -> Any:
        return load_provider(
            "local",
            cluster_id=self.card.cluster_id,
            command=self._local_command,
            log_dir=self.state.logs,
            environment=without_secrets(os.environ),
            price_usd_per_hour=self.settings.local.price_usd_per_hour,
        )

    def _local_command(self, _request: LaunchRequest) -> list[str]:
        if self.gateway is not None:
            return self.gateway.local_command()
        return [sys.executable, "-m", "cluster.worker.local_entrypoint"]

    def _equip(self, name: str, _node_type: NodeType, offer: Offer) -> Equipment:
        if self.gateway is not None:
            return self.gateway.equip(name, offer.cloud)
        return Equipment(
            {"AIMA_ORCHESTRATOR_URL": self.card.orchestrator_url, "AIMA_JOIN_TOKEN": self.joins.issue(name)}
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile, and keep the overlay's door, until `stop`."""
        loops = [self.reconciler.run(stop)]
        if self.gateway is not None:
            loops.append(self.gateway.serve(stop))
        await asyncio.gather(*loops)

    def admit(self, name: str, token: str) -> dict[str, Any]:
        """Everything a worker needs to become a Ray node. Raises Refused."""
        report_token = self.joins.redeem(name, token)
        intent = self.reconciler.find(name)
        if intent is None or intent.state is IntentState.ENDING:
            raise Refused(f"{name} is not wanted any more")
        address = first_free(self._next_block, is_free)
        self._next_block = int((address.base_port - 10_000) / 64) + 1
        shape = self.settings.node_types[intent.node_type]
        return {
            "report_token": report_token,
            "ray_token": self.state.token("ray"),
            "node_type": intent.node_type,
            "host": address.host,
            "node_manager_port": address.node_manager_port,
            "max_age_s": self.settings.scaling.max_age_s,
            "grace_s": self.settings.overlay.grace_s,
            "drain_s": self.settings.scaling.drain_s,
            "ray": self.settings.ray.model_dump(mode="json"),
            "ray_start_flags": [
                f"--address={self.card.address.gcs_address}",
                *resource_flags(shape),
                f"--object-store-memory={OBJECT_STORE_BYTES}",
                *address.ray_start_flags(),
            ],
        }


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

    @app.get("/v1/nodes", dependencies=[nodes_only])
    async def list_nodes() -> dict[str, Any]:
        now = orchestrator.clock()
        return {
            "nodes": [_as_node(intent, now, orchestrator.settings.scaling.drain_s) for intent in reconciler.nodes()]
        }

    @app.post("/v1/nodes", status_code=201, dependencies=[nodes_only])
    async def launch(body: LaunchBody) -> dict[str, Any]:
        try:
            return {"names": reconciler.launch(body.node_type, body.count, body.tags, body.call_id)}
        except UnknownNodeType as error:
            raise HTTPException(422, str(error)) from None
        except Draining as error:
            raise HTTPException(503, str(error)) from None

    @app.post("/v1/nodes:observe", status_code=204, dependencies=[nodes_only])
    async def observe(body: ActivitiesBody) -> None:
        reconciler.observe({node.name: Activity(node.in_use, node.reasons) for node in body.nodes})

    @app.post("/v1/nodes:terminate", status_code=202, dependencies=[nodes_only])
    async def terminate(body: NamesBody) -> dict[str, Any]:
        reconciler.terminate(body.names, "Ray's autoscaler has no more work for it")
        return {"names": body.names}

    @app.post("/v1/drain", dependencies=[nodes_only])
    async def drain() -> dict[str, Any]:
        await reconciler.drain(_DRAIN_TIMEOUT_S)
        return reconciler.fleet()

    _add_reader_routes(app, orchestrator)
    _add_worker_routes(app, orchestrator)
    return app


def _add_reader_routes(app: FastAPI, orchestrator: Orchestrator) -> None:
    """What the service reads, with a token that changes nothing."""
    readers = _requires(orchestrator, "nodes", "fleet")

    @app.get("/v1/fleet", dependencies=[readers])
    async def fleet() -> dict[str, Any]:
        return orchestrator.reconciler.fleet()

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
        orchestrator.reconciler.mark_joined(body.name)


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


def main() -> None:
    """Serve until SIGTERM. Settings come from AIMA_CONFIG, the address from the cluster's card."""
    settings = load_settings()
    logs.configure("orchestrator", settings.log.format, settings.log.level)
    state = StateDir(settings.state_dir)
    card = state.read_card()
    if card is None:
        sys.exit(f"{state.card_path} is missing: start the cluster with `aima up`")
    try:
        app = create_app(Orchestrator(settings, state, card))
    except (CloudError, UnknownCloud) as error:
        sys.exit(str(error))
    os.chdir("/")
    uvicorn.run(app, host=card.host, port=card.address.orchestrator_port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
