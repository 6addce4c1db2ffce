"""One contract over both storages: a directory, and S3 over HTTP."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.storage.object_storage import open_storage
from serve_apps.results.objects import Objects

MIB = 1 << 20


@pytest.fixture(params=["directory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    if request.param == "directory":
        yield open_storage(str(tmp_path / "storage"))
        return
    import boto3  # noqa: PLC0415
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="aima")
    yield open_storage(f"s3://aima/some/prefix?endpoint_url=http://{host}:{port}&region=us-east-1")
    client.close()
    server.stop()


def written(storage: Objects, name: str, *parts: bytes) -> str:
    uri = f"{storage.base_uri}/{name}/content"
    multipart_id = storage.begin(uri)
    for number, part in enumerate(parts, start=1):
        storage.put_part(uri, multipart_id, number, io.BytesIO(part))
    storage.finish(uri, multipart_id)
    return uri


def test_a_small_object_is_written_over_the_one_before(storage: Objects) -> None:
    uri = f"{storage.base_uri}/analyses/a/0000/manifest.json"
    for data in (b"{}", b"[1]"):
        storage.write(uri, data)
        assert storage.read(uri) == data
    storage.erase(f"{storage.base_uri}/analyses/a")
    with pytest.raises(FileNotFoundError):
        storage.read(uri)


def test_parts_become_one_object_in_their_order(storage: Objects) -> None:
    uri = f"{storage.base_uri}/uploads/a/content"
    multipart_id = storage.begin(uri)
    first, second, last = b"1" * 5 * MIB, b"2" * 5 * MIB, b"3"
    for number, part in ((3, last), (1, b"0" * 5 * MIB), (2, second), (1, first)):
        storage.put_part(uri, multipart_id, number, io.BytesIO(part))
    assert storage.parts(uri, multipart_id) == {1: 5 * MIB, 2: 5 * MIB, 3: 1}
    with pytest.raises(FileNotFoundError):
        storage.read(uri)
    storage.finish(uri, multipart_id)
    storage.finish(uri, multipart_id)
    assert storage.read(uri) == first + second + last
    assert storage.head(uri, 3) == b"111"
    assert storage.parts(uri, multipart_id) == {}


def test_what_a_worker_gets_can_be_read_without_credentials(storage: Objects) -> None:
    uri = written(storage, "uploads/a", b"content")
    readable = storage.readable(uri)
    if readable.startswith("http"):
        assert httpx.get(readable).content == b"content"
        assert "testing" not in readable.partition("?")[0]
    else:
        assert Path(readable).read_bytes() == b"content"


def test_a_client_may_put_a_part_itself(storage: Objects) -> None:
    uri = f"{storage.base_uri}/uploads/a/content"
    multipart_id = storage.begin(uri)
    url = storage.part_url(uri, multipart_id, 1)
    if url is None:
        storage.put_part(uri, multipart_id, 1, io.BytesIO(b"content"))
    else:
        assert httpx.put(url, content=b"content").is_success
    storage.finish(uri, multipart_id)
    assert storage.read(uri) == b"content"


def test_erasing_takes_what_lies_below_and_nothing_beside(storage: Objects) -> None:
    kept = written(storage, "analyses/an_10", b"kept")
    gone = [written(storage, f"analyses/an_1/{name}", b"gone") for name in ("0000/labels", "0001/labels")]
    open_one = f"{storage.base_uri}/analyses/an_1/open/content"
    multipart_id = storage.begin(open_one)
    storage.put_part(open_one, multipart_id, 1, io.BytesIO(b"part"))
    for _ in range(2):
        storage.erase(f"{storage.base_uri}/analyses/an_1")
    for uri in gone:
        with pytest.raises(FileNotFoundError):
            storage.read(uri)
    assert storage.parts(open_one, multipart_id) == {}
    assert storage.read(kept) == b"kept"


@pytest.mark.parametrize("uri", ["/etc/passwd", "s3://other/x", "file:///etc/passwd"])
def test_nothing_outside_is_touched(storage: Objects, uri: str) -> None:
    for call in (storage.read, storage.erase, storage.begin):
        with pytest.raises(ValueError, match="does not lie in"):
            call(uri)


def test_dots_do_not_lead_out_of_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not lie in"):
        open_storage(str(tmp_path)).read(f"{tmp_path}/../x")


def test_a_storage_that_we_do_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="give a path, file:// or s3://"):
        open_storage("ftp://x")
