"""What runs on Ray Serve: the HTTP API with its dispatcher on the head, the models of each lane on bought workers."""

import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions
from ray.serve.schema import LoggingConfig
from sqlalchemy import Engine

from cluster.config.node_resources import CPU_LANE_RESOURCE
from cluster.head import memory
from cluster.service.analyzer_catalog import catalog
from cluster.service.fleet_client import FleetReader
from cluster.service.settings import CPUS_PER_WORKER, ServiceSettings
from cluster.steady_clock import SteadyClock
from cluster.storage.database import open_engine
from cluster.storage.object_storage import open_storage
from cluster.storage.tickets import open_tickets
from pipelines import logs
from pipelines.media.isolation import DecodeProcesses, ProbeLimits
from serve_apps.analyses import Lane
from serve_apps.api.analyzer_catalog import Catalog
from serve_apps.api.app import create_app
from serve_apps.api.auth import Gate
from serve_apps.api.context import MOST_STREAMS, Service
from serve_apps.api.event_hub import EventHub
from serve_apps.api.media_policy import MediaPolicy
from serve_apps.api.middleware import BodyLimits
from serve_apps.models.segments import SegmentModel
from serve_apps.monitoring.metrics import Metrics
from serve_apps.monitoring.traces import Traces
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.queue.tickets import TicketOffice
from serve_apps.results.objects import Objects
from serve_apps.results.worker_access import access_to
from serve_apps.search.documents import DatabaseDocuments, Documents
from serve_apps.search.documents_mongo import MongoDocuments
from serve_apps.store.analysis_store import Store
from serve_apps.store.credentials import Credentials
from serve_apps.store.keys import Keys
from serve_apps.store.lifecycle import Lifecycle
from serve_apps.store.uploads import Uploads
from serve_apps.work.dispatch_policy import GIVEN_AHEAD, AnalysisLimits, DispatchPolicy
from serve_apps.work.dispatcher import Dispatcher, RunSegment
from serve_apps.work.pricing import Pricing
from serve_apps.work.prober import Prober
from serve_apps.work.running import lifespan_of

APP_NAME = "aima"
_DEPLOYMENTS = {Lane.GPU: "SegmentModel", Lane.CPU: "CpuSegmentModel"}
_ACTOR_OPTIONS: dict[Lane, dict[str, Any]] = {
    Lane.GPU: {"num_gpus": 1, "num_cpus": 1},
    Lane.CPU: {"num_gpus": 0, "num_cpus": 0, "resources": {CPU_LANE_RESOURCE: CPUS_PER_WORKER}},
}
# Serve counts a request twice, queued and running, until a replica has accepted it, and a young replica on a busy
# machine takes seconds for that: without a delay, three in ten cold starts bought a second GPU, and on two cores that
# were busy with models and a browser 5 s did not always do. The first replica is never delayed.
_SECOND_REPLICA_DELAY_S = 15.0
_HEADER_LIMIT_S, _HEADERS_IDLE_S = 30.0, 60.0


def deploy(settings: ServiceSettings) -> None:
    """Start Serve on the connected cluster with one proxy on the head, and deploy the service. Returns when ready."""
    serve.start(
        proxy_location="HeadOnly",
        http_options=HTTPOptions(host=settings.http_host, port=settings.http_port),
    )
    serve.run(application(settings), name=APP_NAME, route_prefix="/", blocking=False)


def application(settings: ServiceSettings) -> Any:
    """The Serve application: `Api` (always one, on the head) in front of a model deployment for each lane."""
    api = serve.deployment(
        serve.ingress(lambda: _build_api(settings))(),
        name="Api",
        num_replicas=1,
        max_ongoing_requests=2 * MOST_STREAMS,  # half of it for what is answered at once, health among it
        ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
    )
    return api.bind(
        *(
            _model(lane, settings).bind(
                settings.log_format, settings.log_level, settings.hardware_decoding, settings.segments_per_worker[lane]
            )
            for lane in _lanes(settings)
        )
    )


def _lanes(settings: ServiceSettings) -> list[Lane]:
    return [Lane(lane) for lane, workers in settings.max_workers.items() if workers]


def _model(lane: Lane, settings: ServiceSettings) -> Any:
    """A lane's deployment: zero to its most workers."""
    given = settings.segments_per_worker[lane] + GIVEN_AHEAD
    return serve.deployment(
        SegmentModel,
        name=_DEPLOYMENTS[lane],
        ray_actor_options=_ACTOR_OPTIONS[lane],
        max_ongoing_requests=given,
        logging_config=LoggingConfig(enable_access_log=False),  # it says itself what it did, and for whom
        graceful_shutdown_wait_loop_s=0.2,
        autoscaling_config=AutoscalingConfig(
            min_replicas=0,
            max_replicas=settings.max_workers[lane],
            target_ongoing_requests=given,
            upscale_delay_s=_SECOND_REPLICA_DELAY_S,
            downscale_delay_s=settings.idle_limit_s,
            downscale_to_zero_delay_s=settings.idle_limit_s,
            metrics_interval_s=0.5,
            look_back_period_s=1,
        ),
    )


def _build_api(settings: ServiceSettings) -> FastAPI:
    """Called once in the API's replica on the head: the store, the dispatcher, the routes."""
    logs.configure("api", settings.log_format, settings.log_level, Path(settings.log_path))
    engine = open_engine(settings.database_url)
    clock = SteadyClock(kept=Path(settings.clock_path))
    store, objects = Store(engine, clock), open_storage(settings.storage_uri)
    store.create_tables()
    lanes, observed = _lanes(settings), _observed(settings, clock)
    analyzers = catalog(lanes, settings.model_places)
    media = MediaPolicy(
        settings.media_roots,
        settings.allow_private_hosts,
        settings.media_storage,
        owner_roots=settings.owner_media_roots,
    )
    credentials = Credentials(Path(settings.api_token_file).read_text(encoding="utf-8"))

    def readable(uri: str) -> str:
        return objects.readable(media.readable(credentials.open(uri)))

    # Kept for the next request, and gone when there is none: an idle head pays for no process. What is theirs to open
    # is signed: they run FFmpeg on strangers' files, and the storage's keys stay away from that.
    reading = ProbeLimits(_HEADER_LIMIT_S, settings.probe_memory_bytes, settings.max_frame_pixels)
    probe = DecodeProcesses(_HEADER_LIMIT_S, _HEADERS_IDLE_S, credentials=False, limits=reading).probe

    dispatcher = Dispatcher(
        queue=DatabaseQueue(engine, clock),
        run_segment={lane: _runner(_DEPLOYMENTS[lane]) for lane in lanes},
        probe=probe,
        policy=_policy(settings, objects.base_uri),
        owner=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        lane_of=analyzers.lane_of,
        access=access_to(objects, readable),
        measures=observed.metrics,
        traces=observed.traces,
    )
    office = TicketOffice(open_tickets(settings.queue_url, engine), dispatcher.wake_from_thread)
    service = _service(settings, store, clock, objects, analyzers, media, _submitted(dispatcher, office), observed)
    app = create_app(
        service, Prober(probe, readable), public_docs=settings.public_docs, body_limits=_body_limits(settings)
    )
    app.router.lifespan_context = lifespan_of(service, dispatcher, office)
    return app


@dataclass(frozen=True)
class _Observed:
    """Where the service sees the fleet, and is seen itself."""

    fleet: FleetReader
    metrics: Metrics
    traces: Traces


def _observed(settings: ServiceSettings, clock: Callable[[], float]) -> _Observed:
    token = Path(settings.fleet_token_file).read_text(encoding="utf-8")
    reader, traces = FleetReader(settings.orchestrator_url, token, ray_warnings=settings.ray_warnings), Traces()
    if settings.traces_endpoint:
        try:
            from serve_apps.monitoring import traces_otel as otel  # noqa: PLC0415 - an extra brings what it needs

            sending = otel.exporting_to(settings.traces_endpoint)
        except ImportError:
            raise ValueError(
                "tracing.endpoint is set: it needs `pip install 'aima-media[tracing]'` on the head"
            ) from None
        traces = otel.OpenTelemetryTraces(sending, settings.traces_sample, clock, reader.fleet)
    return _Observed(reader, Metrics(), traces)


def _service(
    settings: ServiceSettings,
    store: Store,
    clock: Callable[[], float],
    objects: Objects,
    analyzers: Catalog,
    media: MediaPolicy,
    submitted: Callable[[str], None],
    observed: _Observed,
) -> Service:
    hub, keys = EventHub(store), Keys(store.engine, clock)
    root_token = Path(settings.api_token_file).read_text(encoding="utf-8")

    return Service(
        store=store,
        lifecycle=Lifecycle(store.engine, clock),
        documents=_documents(settings.documents_url, store.engine),
        uploads=Uploads(store.engine, clock, objects),
        objects=objects,
        keys=keys,
        credentials=Credentials(root_token),
        gate=Gate(keys, root_token, clock),
        hub=hub,
        fleet=observed.fleet.fleet,
        fleet_metrics=observed.fleet.metrics,
        head_memory=memory.reader(settings.cluster_id, Path(settings.ray_dir)),
        metrics=observed.metrics,
        traces=observed.traces,
        catalog=analyzers,
        policy=media,
        submitted=submitted,
        pricing=Pricing(
            idle_limit_s=settings.idle_limit_s,
            media_s_per_worker=settings.media_s_per_worker,
            max_workers=_workers(settings),
        ),
        keep_days=settings.keep_days,
    )


def _policy(settings: ServiceSettings, storage_uri: str) -> DispatchPolicy:
    return DispatchPolicy(
        storage_uri=storage_uri,
        max_workers=_workers(settings),
        segments_per_worker={lane: settings.segments_per_worker[lane] for lane in _lanes(settings)},
        segment_s=settings.segment_s,
        media_s_per_worker=settings.media_s_per_worker,
        limits=AnalysisLimits(settings.max_media_s, settings.max_segments, settings.max_workers_of_one),
    )


def _runner(deployment: str) -> RunSegment:
    handle = serve.get_deployment_handle(deployment, app_name=APP_NAME).options(stream=True)
    run: RunSegment = handle.analyze.remote
    return run


def _body_limits(settings: ServiceSettings) -> BodyLimits:
    return BodyLimits(
        submission_bytes=settings.max_submission_bytes,
        image_bytes=settings.max_image_bytes,
        silence_s=settings.body_silence_s,
    )


def _submitted(dispatcher: Dispatcher, office: TicketOffice) -> Callable[[str], None]:
    """What follows a stored request: our own dispatcher looks now, others hear of it."""

    def submitted(analysis_id: str) -> None:
        dispatcher.wake()
        office.send(analysis_id)

    return submitted


def _documents(url: str, engine: Engine) -> Documents:
    if not url or url == "database":
        return DatabaseDocuments(engine)
    if not url.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("documents_url: leave it empty for the database, or give a mongodb:// URL")
    return MongoDocuments(url)


def _workers(settings: ServiceSettings) -> dict[Lane, int]:
    return {lane: settings.max_workers[lane] for lane in _lanes(settings)}


def main() -> None:
    """Deploy with the settings that come as JSON on standard input, then leave."""
    settings = ServiceSettings.from_json(sys.stdin.read())
    ray.init(address=os.environ["RAY_ADDRESS"], namespace="serve", log_to_driver=False)
    deploy(settings)


if __name__ == "__main__":
    main()
