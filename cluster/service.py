"""What runs on Ray Serve: the HTTP API with its dispatcher on the head, the GPU deployment on bought workers."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions

from cluster.database import open_engine
from cluster.service_settings import ServiceSettings
from pipelines.analyzers import analyzer_names
from pipelines.sources import probe_isolated
from serve_apps.api import create_app
from serve_apps.dispatcher import Dispatcher, DispatchPolicy
from serve_apps.models.segments import SegmentModel
from serve_apps.queue import DatabaseQueue
from serve_apps.store import Store

APP_NAME = "aima"
# Two at a replica: one decodes while the other's batch is on the GPU.
SEGMENTS_PER_WORKER = 2
# Serve counts a request twice, queued and running, until a replica has accepted it, and a young replica on a busy
# machine takes seconds for that: without a delay, three in ten cold starts bought a second GPU. The first replica
# is never delayed.
_SECOND_REPLICA_DELAY_S = 5.0
_FLEET_CACHE_S = 0.3


def deploy(settings: ServiceSettings) -> None:
    """Start Serve on the connected cluster with one proxy on the head, and deploy the service. Returns when ready."""
    serve.start(
        proxy_location="HeadOnly",
        http_options=HTTPOptions(host=settings.http_host, port=settings.http_port),
    )
    serve.run(application(settings), name=APP_NAME, route_prefix="/", blocking=False)


def application(settings: ServiceSettings) -> Any:
    """The Serve application: `Api` (always one, on the head) in front of `SegmentModel` (zero to max_workers)."""
    model = serve.deployment(
        SegmentModel,
        name="SegmentModel",
        ray_actor_options={"num_gpus": 1, "num_cpus": 1},
        max_ongoing_requests=SEGMENTS_PER_WORKER,
        graceful_shutdown_wait_loop_s=0.2,
        autoscaling_config=AutoscalingConfig(
            min_replicas=0,
            max_replicas=max(1, settings.max_workers),
            target_ongoing_requests=SEGMENTS_PER_WORKER,
            upscale_delay_s=_SECOND_REPLICA_DELAY_S,
            downscale_delay_s=settings.idle_limit_s,
            downscale_to_zero_delay_s=settings.idle_limit_s,
            metrics_interval_s=0.5,
            look_back_period_s=1,
        ),
    )
    api = serve.deployment(
        serve.ingress(lambda: _build_api(settings))(),
        name="Api",
        num_replicas=1,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
    )
    return api.bind(model.bind())


def _build_api(settings: ServiceSettings) -> FastAPI:
    """Called once in the API's replica on the head: the store, the dispatcher, the routes."""
    engine = open_engine(settings.database_url)
    store, queue = Store(engine, time.time), DatabaseQueue(engine, time.time)
    store.create_tables()
    handle = serve.get_deployment_handle("SegmentModel", app_name=APP_NAME).options(stream=True)
    dispatcher = Dispatcher(
        queue=queue,
        run_segment=handle.analyze.remote,
        probe=probe_isolated,
        policy=DispatchPolicy(
            storage_uri=settings.storage_uri,
            max_workers=settings.max_workers,
            segments_per_worker=SEGMENTS_PER_WORKER,
            segment_s=settings.segment_s,
            media_s_per_worker=settings.media_s_per_worker,
        ),
        owner=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
    )
    app = create_app(
        store=store,
        fleet=_fleet_reader(settings),
        analyzer_names=analyzer_names(),
        token=Path(settings.api_token_file).read_text(encoding="utf-8"),
        storage_uri=settings.storage_uri,
        media_roots=settings.media_roots,
        allow_private_hosts=settings.allow_private_hosts,
        wake=dispatcher.wake,
    )
    app.router.lifespan_context = _lifespan_of(dispatcher)
    return app


def _lifespan_of(dispatcher: Dispatcher) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """The dispatcher works for as long as the API's replica lives."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        loop = asyncio.create_task(dispatcher.run(stop))
        yield
        stop.set()
        dispatcher.wake()
        await loop

    return lifespan


def _fleet_reader(settings: ServiceSettings) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Reads the orchestrator's view of instances, at most every 0.3 s."""
    token = Path(settings.fleet_token_file).read_text(encoding="utf-8")
    client = httpx.AsyncClient(
        base_url=settings.orchestrator_url, headers={"Authorization": f"Bearer {token}"}, timeout=2.0
    )
    cached: dict[str, Any] = {}
    read_at = 0.0
    lock = asyncio.Lock()

    async def fleet() -> dict[str, Any]:
        nonlocal cached, read_at
        async with lock:
            if time.monotonic() - read_at < _FLEET_CACHE_S:
                return cached
            try:
                cached = (await client.get("/v1/fleet")).raise_for_status().json()
            except httpx.HTTPError as error:
                # Requests are stored and answered all the same; only the explanation is missing.
                cached = {
                    "instances": [],
                    "degraded": {"orchestrator": f"does not answer: {type(error).__name__}"},
                }
            read_at = time.monotonic()
            return cached

    return fleet


def main() -> None:
    """Deploy with the settings that come as JSON on standard input, then leave."""
    settings = ServiceSettings.from_json(sys.stdin.read())
    ray.init(address=os.environ["RAY_ADDRESS"], namespace="serve", log_to_driver=False)
    deploy(settings)


if __name__ == "__main__":
    main()
