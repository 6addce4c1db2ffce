"""The real API with its real dispatcher, models and storage in this process: all of the product but Ray and clouds."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import uvicorn
from fastapi import FastAPI

from cluster.storage.database import open_engine
from cluster.storage.object_storage import open_storage
from pipelines.analyzers.registry import analyzer_names, check_options, describe
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sources import MediaInfo
from serve_apps.analyses import Lane
from serve_apps.api.analyzer_catalog import AnalyzerInfo, Catalog
from serve_apps.api.app import create_app
from serve_apps.api.context import Service
from serve_apps.api.event_hub import EventHub
from serve_apps.api.media_policy import MediaPolicy
from serve_apps.models.segments import SegmentModel
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.queue.tickets import NoTickets, TicketOffice
from serve_apps.results.worker_access import access_to
from serve_apps.store.analysis_store import Store
from serve_apps.store.uploads import Uploads
from serve_apps.work.dispatch_policy import DispatchPolicy
from serve_apps.work.dispatcher import Dispatcher
from serve_apps.work.prober import Prober
from serve_apps.work.running import lifespan_of
from tests.support.product.service import FakeFleet, build_service
from tests.waiting import wait_until

MACHINE = "aima-test-1"
_HEADERS = DecodeProcesses(idle_limit_s=5.0)


def _probe(uri: str) -> MediaInfo:
    return _HEADERS.probe(uri)


@dataclass
class Served:
    """A running API, what tests know of it, and what they change: the fleet's view, and whether segments run.

    `cut` breaks every open connection.
    """

    url: str
    store: Store
    storage: Path
    fleet: FakeFleet = field(default_factory=FakeFleet)
    go_on: threading.Event = field(default_factory=threading.Event)
    cut: Callable[[], Any] = lambda: None


@contextmanager
def serving(directory: Path, media_root: Path) -> Iterator[Served]:
    """The API on a free port, until the block ends."""
    engine = open_engine(f"sqlite:///{directory / 'aima.db'}")
    store = Store(engine, time.time)
    store.create_tables()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    served = Served(f"http://127.0.0.1:{port}", store, directory / "storage")
    app = _app(served, store, directory, media_root)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning", timeout_graceful_shutdown=2))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        served.cut = lambda: loop.call_soon_threadsafe(_close_connections, server)
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        wait_until("the API listens", lambda: server.started)
        yield served
    finally:
        served.go_on.set()
        server.should_exit = True
        thread.join(30)
        engine.dispose()


def _close_connections(server: uvicorn.Server) -> None:
    for connection in list(server.server_state.connections):
        connection.transport.close()


def _app(served: Served, store: Store, directory: Path, media_root: Path) -> FastAPI:
    described = {name: describe(name) for name in analyzer_names()}
    analyzers = {n: AnalyzerInfo(n, Lane(d.lane), d.summary, d.takes) for n, d in described.items()}
    hub = EventHub(store)

    def submitted(_analysis_id: str) -> None:
        dispatcher.wake()
        hub.look_now()

    objects = open_storage(str(served.storage))
    service = build_service(
        store.engine,
        time.time,
        directory,
        served.fleet,
        submitted,
        store=store,
        objects=objects,
        uploads=Uploads(store.engine, time.time, objects, part_bytes=256 << 10),
        hub=hub,
        catalog=Catalog(analyzers, check_options),
        policy=MediaPolicy((str(media_root),)),
    )
    dispatcher = _dispatcher(served, service)
    app = create_app(service, Prober(_probe, service.readable))
    app.router.lifespan_context = lifespan_of(
        service, dispatcher, TicketOffice(NoTickets(), dispatcher.wake_from_thread)
    )
    return app


def _dispatcher(served: Served, service: Service) -> Dispatcher:
    with mock.patch.dict(os.environ, {"AIMA_INSTANCE": MACHINE}):
        model = SegmentModel()

    async def run(task: Mapping[str, Any]) -> Any:
        await asyncio.to_thread(served.go_on.wait)  # until then no worker has come
        async for step in model.analyze(task):
            yield step

    return Dispatcher(
        queue=DatabaseQueue(service.store.engine, time.time),
        run_segment={Lane.GPU: run, Lane.CPU: run},
        probe=_probe,
        policy=DispatchPolicy(str(served.storage), dict.fromkeys(Lane, 1), dict.fromkeys(Lane, 2), segment_s=4.0),
        owner="tests",
        lane_of=service.catalog.lane_of,
        access=access_to(service.objects, service.readable),
    )
