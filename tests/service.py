"""The service's API on parts of its own: a database, a storage, a fleet and a clock that tests set."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from cluster.storage import open_storage
from pipelines.errors import MediaError
from pipelines.sources import MediaInfo
from serve_apps.analyses import Lane
from serve_apps.auth import Gate
from serve_apps.catalog import AnalyzerInfo, Catalog, OptionInfo
from serve_apps.context import Service
from serve_apps.documents import DatabaseDocuments
from serve_apps.event_hub import EventHub
from serve_apps.keys import Keys
from serve_apps.lifecycle import Lifecycle
from serve_apps.media_policy import MediaPolicy
from serve_apps.prober import Prober
from serve_apps.store import Store
from serve_apps.uploads import Uploads

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
        "gate": Gate(keys, TOKEN, clock),
        "hub": EventHub(store, poll_s=0.02),
        "fleet": fleet.reader(),
        "catalog": CATALOG,
        "policy": MediaPolicy((str(folder / "media"),), storage=("s3://videos/public",)),
        "submitted": submitted,
    }
    return Service(**parts | changed)


def build_prober() -> Prober:
    """A prober that knows ten seconds of video."""
    return Prober(probe, str)
