"""The service's API on parts of its own: a database, a storage, a fleet and a clock that tests set."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from cluster.storage.database import open_engine
from cluster.storage.object_storage import open_storage
from pipelines.analyzers.registry import describe
from pipelines.errors import MediaError
from pipelines.media.public_hosts import addresses_of
from pipelines.media.sampling import plan_segments
from pipelines.media.sources import MediaInfo
from pipelines.records.sinks import write_part
from serve_apps.analyses import Lane
from serve_apps.api.analyzer_catalog import AnalyzerInfo, Catalog, OptionInfo
from serve_apps.api.app import create_app
from serve_apps.api.auth import Gate
from serve_apps.api.context import Service
from serve_apps.api.event_hub import EventHub
from serve_apps.api.media_policy import MediaPolicy
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.search.documents import DatabaseDocuments
from serve_apps.store.analysis_store import Store
from serve_apps.store.credentials import Credentials
from serve_apps.store.keys import Keys
from serve_apps.store.lifecycle import Lifecycle
from serve_apps.store.listing import Filter, list_analyses
from serve_apps.store.uploads import Uploads
from serve_apps.work.prober import Prober

TOKEN = "a token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INFO = MediaInfo(
    "/clip.mp4", "mp4", "h264", 320, 240, rotation_deg=0, duration_s=10.0, average_fps=25.0, has_audio=False
)


@dataclass
class FakeFleet:
    """The orchestrator's view, as tests want it."""

    view: dict[str, Any] = field(
        default_factory=lambda: {"instances": [], "clouds": ["local"], "usual_boot_s": 6.0, "degraded": {}}
    )

    def reader(self) -> Callable[[], Awaitable[dict[str, Any]]]:
        async def read() -> dict[str, Any]:
            return self.view

        return read


@dataclass
class Running:
    """The API on a database of its own, with a fleet and a clock that tests set."""

    app: FastAPI
    http: TestClient
    service: Service
    queue: DatabaseQueue
    media: Path
    fleet: FakeFleet
    clock: list[float]
    woken: list[str]
    public_hosts: set[str]

    def submit(self, **more: Any) -> dict[str, Any]:
        """Ask for an analysis of the clip; its view."""
        reply = self.http.post("/v1/analyses", json={"media": str(self.media), "analyzers": ["labels"]} | more)
        assert reply.status_code == 202, reply.text
        return dict(reply.json())

    def finish(self, analysis_id: str) -> None:
        """Run its only segment: three records in four seconds on i-1."""
        self.begin(analysis_id, 1)

    def begin(self, analysis_id: str, segments: int) -> None:
        """Run the first of its segments."""
        self.queue.plan(analysis_id, [{}], [{Lane.GPU: plan_segments(10.0 * segments, 10.0)}])
        self.run_next(analysis_id)

    def run_next(self, analysis_id: str) -> None:
        """Run the next of its segments."""
        (segment,) = self.queue.claim_segments("me", Lane.GPU, 1, 60)
        self.queue.first_frame(segment.key, "me", "i-1")
        self.clock[0] += 4
        folder = f"{self.service.objects.base_uri}/analyses/{analysis_id}/0000/labels"
        labels = [[{"label": label, "score": 0.9}] for label in ("golden retriever", "tabby cat", "Dog sled")]
        table = pa.table({"time_s": [0.0, 0.5, 1.0], "labels": labels})
        rule = describe("labels").insight
        assert rule
        part = write_part(table, folder, segment.segment_index, {"insight": rule.to_json()})
        self.queue.complete_segment(segment.key, "me", {"frames": 250, "parts": {"labels": part}}, "i-1", 4.0)

    def newest(self) -> list[str]:
        """The ids of all analyses."""
        return [a.id for a in list_analyses(self.service.store.engine, Filter(), 100)[0]]


@contextmanager
def running_service(folder: Path) -> Iterator[Running]:
    """The API on a fresh database, with one clip that may be analysed."""
    engine = open_engine(f"sqlite:///{folder / 'test.db'}")
    clock, woken, fleet, public_hosts = [1_700_000_000.0], list[str](), FakeFleet(), set[str]()
    media = folder / "media" / "clip.mp4"
    media.parent.mkdir()
    media.write_bytes(b"not looked into")
    policy = MediaPolicy(
        (str(media.parent),),
        storage=("s3://videos/public",),
        resolve=lambda host: ["93.184.216.34"] if host in public_hosts else addresses_of(host),
    )
    made = build_service(engine, lambda: clock[0], folder, fleet, woken.append, policy=policy)
    app = create_app(made, build_prober(), live=lambda: {"segments_running": 0})
    queue = DatabaseQueue(engine, lambda: clock[0])
    with TestClient(app, headers=BEARER, raise_server_exceptions=False) as http:
        yield Running(app, http, made, queue, media, fleet, clock, woken, public_hosts)
    engine.dispose()


def problem(reply: Any, status: int, field: str | None) -> dict[str, Any]:
    """The reply's problem, which must have this status and name this field."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert body["status"] == status
    assert body.get("field") == field, body
    return body


def check_options(name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of `labels`, fps may be set to a number above 0."""
    for option, value in given.items():
        if (name, option) != ("labels", "fps"):
            raise ValueError(f"{option}: unknown option")
        if not isinstance(value, int | float) or not 0 < value <= 60:
            raise ValueError(f"{option} = {value!r}: allowed: a number above 0 to 60")
    return given


CATALOG = Catalog(
    {
        "labels": AnalyzerInfo("labels", options={"fps": OptionInfo(2.0, "a number above 0 to 60")}),
        "scenes": AnalyzerInfo("scenes"),
        "speech": AnalyzerInfo("speech", lane=Lane.CPU, takes="audio"),
    },
    check_options,
)


def probe(uri: str) -> MediaInfo:
    """Ten seconds of video; what is called empty is damaged."""
    if "empty" in uri:
        raise MediaError(uri, "the file is empty")
    return INFO


def build_service(
    engine: Engine,
    clock: Callable[[], float],
    folder: Path,
    fleet: FakeFleet,
    submitted: Callable[[str], None],
    **changed: Any,
) -> Service:
    """Everything real but the fleet; media may lie in `folder`/media."""
    store, objects = Store(engine, clock), open_storage(str(folder / "storage"))
    store.create_tables()
    keys = Keys(engine, clock)
    parts: dict[str, Any] = {
        "store": store,
        "lifecycle": Lifecycle(engine, clock),
        "documents": DatabaseDocuments(engine),
        "uploads": Uploads(engine, clock, objects, max_bytes=5000, part_bytes=1000),
        "objects": objects,
        "keys": keys,
        "credentials": Credentials(TOKEN),
        "gate": Gate(keys, TOKEN, clock),
        "hub": EventHub(store, poll_s=0.02),
        "fleet": fleet.reader(),
        "catalog": CATALOG,
        "policy": MediaPolicy((str(folder / "media"),)),
        "submitted": submitted,
    }
    return Service(**parts | changed)


def build_prober() -> Prober:
    """A prober that knows ten seconds of video."""
    return Prober(probe, str)
