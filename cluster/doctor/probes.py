"""The looking of `aima doctor`: each probe asks one thing, and takes no answer for an answer."""

import importlib.metadata
import io
import os
import resource
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import psutil
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from autoscaler.clouds.contract import CloudProvider
from autoscaler.errors import CloudError
from autoscaler.types import NodeType
from cluster.client import Client, ClientError, api_access
from cluster.config.schema import Settings
from cluster.config.state_directory import StateDir
from cluster.doctor.checks import BackendFacts, CloudFacts, MachineFacts
from cluster.overlay.ports import can_bind
from cluster.storage.database import open_engine
from cluster.storage.object_storage import open_storage

_PACKAGES = ("ray", "av", "boto3", "fastapi", "torch", "torchvision")
_TIMEOUT_S = 10.0


def look_at_machine(settings: Settings) -> MachineFacts:
    """Versions, limits, room, ports and permissions."""
    state = StateDir(settings.state_dir)
    running = state.read_card() is not None
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MachineFacts(
        python=sys.version_info[:2],
        packages={name: _version(name) for name in _PACKAGES},
        open_files=soft,
        memory_free=psutil.virtual_memory().available,
        disk_free=shutil.disk_usage(_existing(settings.state_dir)).free,
        temp_dir=tempfile.gettempdir(),
        http_host=settings.http.host,
        http_port=settings.http.port,
        port_taken=not running and not can_bind(settings.http.host, settings.http.port),
        media_roots=settings.media.roots or (),
        exposed=[str(path) for path in (state.path, state.path / "tokens") if path.exists() and _readable(path)],
    )


def look_at_database(settings: Settings, clock: Callable[[], float]) -> BackendFacts:
    """Connect, and compare clocks where it has one of its own."""
    url = make_url(settings.database_url)
    name, began = url.render_as_string(hide_password=True), time.monotonic()
    engine = open_engine(settings.database_url)
    ahead_s = None
    try:
        with engine.connect() as connection:
            connection.execute(text("select 1"))
            if url.get_backend_name() == "postgresql":
                theirs = connection.execute(text("select extract(epoch from clock_timestamp())")).scalar_one()
                ahead_s = float(theirs) - clock()
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return BackendFacts("database", name, 0.0, cause)
    finally:
        engine.dispose()
    return BackendFacts("database", name, time.monotonic() - began, clock_ahead_s=ahead_s)


def look_at_storage(settings: Settings) -> BackendFacts:
    """Write an object, read it, remove it."""
    began = time.monotonic()
    try:
        objects = open_storage(settings.storage_uri)
        uri = f"{objects.base_uri}/doctor/{secrets.token_hex(8)}/content"
        multipart_id = objects.begin(uri)
        objects.put_part(uri, multipart_id, 1, io.BytesIO(b"aima doctor"))
        objects.finish(uri, multipart_id)
        wrong = objects.read(uri) != b"aima doctor"
        objects.erase(uri.rpartition("/")[0])
    except Exception as error:  # boto3 has a hundred kinds; each is what the person must know
        return BackendFacts("storage", settings.storage_uri, 0.0, f"{type(error).__name__}: {error}")
    said = "it gives back other bytes than were written" if wrong else ""
    return BackendFacts("storage", settings.storage_uri, time.monotonic() - began, said)


async def look_at_cloud(name: str, provider: CloudProvider, node_types: list[NodeType]) -> CloudFacts:
    """List what exists and what is for sale. Nothing is bought."""
    try:
        instances = await provider.list_instances()
        cheapest = {}
        for node_type in node_types:
            offers = await provider.list_offers(node_type)
            limit = node_type.max_price_usd_per_hour
            prices = [offer.price_usd_per_hour + offer.storage_usd_per_hour for offer in offers]
            cheapest[node_type.name] = min((p for p in prices if limit is None or p <= limit), default=None)
    except CloudError as error:
        return CloudFacts(name, f"{type(error).__name__}: {error}")
    return CloudFacts(name, instances=len(instances), cheapest=cheapest)


def clock_ahead_of_ours_s(url: str, clock: Callable[[], float]) -> float | None:
    """How far the clock behind an HTTP address is ahead, in whole seconds; None when it does not say."""
    try:
        reply = httpx.head(url, timeout=_TIMEOUT_S)
        return parsedate_to_datetime(reply.headers["date"]).timestamp() - clock()
    except (httpx.HTTPError, KeyError, ValueError):
        return None


def look_at_access(settings: Settings) -> str:
    """Why the API elsewhere cannot be used, or ""."""
    try:
        url, key = api_access(settings)
        reply = httpx.get(f"{url}/v1/health", timeout=_TIMEOUT_S)
        reply.raise_for_status()
        with Client(url, key) as client:
            client.analyses(limit=1)
    except (ClientError, httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error)
    return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return path if path.exists() else _existing(path.parent)


def _readable(path: Path) -> bool:
    """Whether others than its owner can enter it."""
    return bool(os.stat(path).st_mode & 0o077)
