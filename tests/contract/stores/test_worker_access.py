"""No secret on a rented machine: a worker without credentials reads its media and writes its parts, and no others."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from sqlalchemy import Engine

pytest.importorskip("av")

from cluster.storage.object_storage import open_storage
from pipelines.media.isolation import DecodeProcesses
from pipelines.records.http_put import put_http
from pipelines.records.sinks import PART_TYPE
from serve_apps.analyses import AnalysisState, Lane
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.results.objects import Objects
from serve_apps.results.parts import tables
from serve_apps.results.worker_access import access_to
from serve_apps.store.analysis_store import Analysis, Store, Submission
from serve_apps.work.dispatch_policy import DispatchPolicy
from serve_apps.work.dispatcher import Dispatcher
from tests.contract.databases import sqlite
from tests.support.samples import media
from tests.support.servers.guarded_s3 import KEY_ID, REGION, SECRET, Guard, guarded_s3

_WORKER = """
import json, os, sys
from pipelines.segments.task import SegmentTask
from pipelines.segments.segment_analyzer import SegmentAnalyzer
assert not [name for name in os.environ if name.startswith("AWS_")], os.environ
report = SegmentAnalyzer().run(SegmentTask.from_dict(json.load(sys.stdin)))
print(json.dumps(report.to_dict()), flush=True)
os._exit(0)
"""


@dataclass
class Bucket:
    """A storage in a bucket whose server looks at signatures."""

    url: str
    guard: Guard
    client: Any
    name: str
    objects: Objects

    def uri(self, key: str) -> str:
        """An object's."""
        return f"s3://{self.name}/{key}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with guarded_s3(monkeypatch) as (url, guard, client, name):
        yield Bucket(url, guard, client, name, open_storage(f"s3://{name}/prod?endpoint_url={url}&region={REGION}"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = sqlite(tmp_path)
    yield made
    made.dispose()


async def run_on_a_bare_machine(task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """A worker's process with nothing in its environment but where its code is."""
    bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WORKER, env=bare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, error = await worker.communicate(json.dumps(task).encode())
    if worker.returncode:
        raise RuntimeError(error.decode())
    yield {"report": json.loads(said), "instance": "rented", "busy_s": 1.0}


def analyse(engine: Engine, objects: Objects, *uris: str) -> tuple[Analysis, Store]:
    """One analysis from request to end, by the real dispatcher."""
    store = Store(engine, monotonic)
    store.create_tables()
    asked, _ = store.create(Submission(media=uris, analyzers=["brightness"], body_sha256=""))
    dispatcher = Dispatcher(
        DatabaseQueue(engine, monotonic),
        {Lane.GPU: run_on_a_bare_machine},
        DecodeProcesses(idle_limit_s=1.0).probe,
        DispatchPolicy(objects.base_uri, {Lane.GPU: 1}, {Lane.GPU: 2}, poll_s=0.05),
        "test",
        lambda _name: Lane.GPU,
        access_to(objects),
    )

    async def until_it_ends() -> None:
        stop = asyncio.Event()
        work = asyncio.create_task(dispatcher.run(stop))
        while not store.heads([asked.id])[asked.id][0]:
            await asyncio.sleep(0.02)
        stop.set()
        await work

    asyncio.run(until_it_ends())
    ended = store.get(asked.id)
    assert ended is not None
    return ended, store


def test_a_worker_without_credentials_reads_its_media_and_writes_its_parts(
    bucket: Bucket, engine: Engine, tmp_path: Path
) -> None:
    """The media: an upload, and an object that lies elsewhere and may be named."""
    places = ("prod/uploads/up_1/content", "videos/public/a.mp4")
    for place in places:
        bucket.client.upload_file(str(media.build("h264-mp4", tmp_path).path), bucket.name, place)
    ended, store = analyse(engine, bucket.objects, *map(bucket.uri, places))
    assert ended.state is AnalysisState.SUCCEEDED, ended.error
    parts = store.parts(ended.id)
    folder = f"prod/analyses/{ended.id}"
    assert [p.uri for p in parts] == [
        bucket.uri(f"{folder}/{index:04d}/brightness/part-00000.parquet") for index in range(2)
    ]
    for place, (part, table) in zip(places, tables(bucket.objects, parts), strict=True):
        assert table.column("time_s").to_pylist() == [0.0, 1.0, 2.0]
        assert "X-Amz" not in str(table.schema.metadata)
        assert f"PUT /{part.uri.removeprefix('s3://')}" in bucket.guard.presigned
        assert f"GET /{bucket.name}/{place}" in bucket.guard.presigned
    assert "X-Amz" not in str(store.events_after(ended.id, 0))


def test_an_address_holds_for_one_object_one_type_and_one_hour(bucket: Bucket) -> None:
    url = bucket.objects.writable(bucket.uri("prod/analyses/a/part.parquet"), PART_TYPE)
    assert url is not None
    assert SECRET not in url
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["X-Amz-Credential"].startswith(f"{KEY_ID}/")
    assert int(query["X-Amz-Expires"]) <= 3600
    with pytest.raises(OSError, match=r"part\.parquet could not be written: .*403 SignatureDoesNotMatch"):
        put_http(b"x", url, "text/html")
    for other in (url.replace("part.parquet", "other.parquet"), url.replace("/prod/", "/")):
        with pytest.raises(OSError, match="SignatureDoesNotMatch"):
            put_http(b"x", other, PART_TYPE)
    assert httpx.get(url, headers={"Content-Type": PART_TYPE}).status_code == 403
    assert httpx.delete(url, headers={"Content-Type": PART_TYPE}).status_code == 403
    put_http(b"content", url, PART_TYPE)
    assert bucket.objects.read(bucket.uri("prod/analyses/a/part.parquet")) == b"content"
    bucket.guard.late_s = 3601
    with pytest.raises(OSError, match="403 AccessDenied") as caught:
        put_http(b"x", url, PART_TYPE)
    assert "X-Amz" not in str(caught.value)
    assert httpx.get(f"{bucket.url}/{bucket.name}/prod/analyses/a/part.parquet").status_code == 403


def test_a_storage_that_is_busy_for_a_moment_is_asked_again(bucket: Bucket) -> None:
    url = bucket.objects.writable(bucket.uri("prod/part"), PART_TYPE)
    assert url is not None
    bucket.guard.unavailable, pauses = 2, list[float]()
    put_http(b"content", url, PART_TYPE, pauses.append)
    assert len(pauses) == 2
    assert bucket.objects.read(bucket.uri("prod/part")) == b"content"
    bucket.guard.unavailable = 3
    with pytest.raises(OSError, match="503 SlowDown"):
        put_http(b"content", url, PART_TYPE, pauses.append)


def test_what_is_handed_out_names_the_server_as_workers_reach_it(bucket: Bucket) -> None:
    public = bucket.url.replace("127.0.0.1", "localhost")
    inside = f"s3://{bucket.name}/prod?endpoint_url={bucket.url}&region={REGION}&public_endpoint_url={public}"
    objects = open_storage(inside)
    url = objects.writable(bucket.uri("prod/part"), PART_TYPE)
    assert url is not None
    assert url.startswith(f"{public}/{bucket.name}/prod/part?")
    put_http(b"content", url, PART_TYPE)
    assert objects.read(bucket.uri("prod/part")) == b"content"
    assert httpx.get(objects.readable(bucket.uri("prod/part"))).content == b"content"
