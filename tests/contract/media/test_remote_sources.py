"""The same frames from a web server and an object store as from a local file, without fetching what is not needed."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("av")

from pipelines.batch.inputs import list_media
from pipelines.errors import MediaError
from pipelines.media.addresses import trusted
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import EveryFrame, Segment
from tests.support.samples import media
from tests.support.servers.http_server import RangeServer, served

WHOLE = [FrameRequest(Segment(0, 0.0, 2.4, last=True), EveryFrame(), (48, 80))]
_PADDING = 64 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    with served(tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture(scope="module")
def processes() -> DecodeProcesses:
    return DecodeProcesses()


def numbers(processes: DecodeProcesses, uri: str) -> list[int]:
    return [media.read_pattern(p) for _, batch in processes.read("pyav", uri, WHOLE, 16) for p in batch.pixels]


def padded(data: bytes, before: bytes) -> bytes:
    """A large box that means nothing, put before the box of this name."""
    at = data.index(before) - 4 if before else len(data)
    return data[:at] + _PADDING.to_bytes(4, "big") + b"free" + bytes(_PADDING - 8) + data[at:]


@pytest.mark.parametrize("name", ["h264-mp4", "h264-mkv", "h264-ts", "vp9-webm"])
def test_a_web_server_gives_the_same_frames(name: str, server: RangeServer, processes: DecodeProcesses) -> None:
    path = media.build(name, server.folder).path
    assert processes.probe(server.url(path.name)).duration_s == processes.probe(str(path)).duration_s
    assert numbers(processes, server.url(path.name)) == list(range(60))


@pytest.mark.parametrize("place", ["index first", "index last"])
def test_the_first_frame_does_not_wait_for_the_whole_file(
    place: str, server: RangeServer, processes: DecodeProcesses
) -> None:
    path = server.folder / f"{place.replace(' ', '_')}.mp4"
    movflags = {"movflags": "faststart"} if place == "index first" else {}
    recipe = media.Recipe(path.name, "libx264", container=movflags)
    pictures = [media.pattern(number) for number in range(60)]
    media.encode(path, recipe, pictures, range(60), 1 / recipe.fps)
    path.write_bytes(padded(path.read_bytes(), b"" if place == "index first" else b"moov"))
    before = server.sent_bytes
    batches = processes.read("pyav", server.url(path.name), WHOLE, 1)
    _, first = next(batches)
    assert media.read_pattern(first.pixels[0]) == 0
    assert [media.read_pattern(batch.pixels[0]) for _, batch in batches] == list(range(1, 60))
    # What the sockets hold is counted as sent.
    assert server.sent_bytes - before < _PADDING / 4


def test_a_missing_address_is_an_error_without_the_presigned_query(
    server: RangeServer, processes: DecodeProcesses
) -> None:
    with pytest.raises(MediaError) as caught:
        processes.probe(server.url("gone.mp4?X-Signature=secret"))
    assert str(caught.value).startswith("gone.mp4: ")
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bucket of an S3 server on this machine, with two clips below videos/."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    folder = tmp_path_factory.mktemp("objects")
    with pytest.MonkeyPatch.context() as patch:
        store = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        store.start()
        _, port = store.get_host_and_port()
        for name, value in (
            ("ENDPOINT_URL", f"http://127.0.0.1:{port}"),
            ("ACCESS_KEY_ID", "test"),
            ("SECRET_ACCESS_KEY", "test"),
            ("DEFAULT_REGION", "eu-central-1"),
            ("REGION", "eu-central-1"),
        ):
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="media", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for name in ("h264-mp4", "h264-mkv"):
            path = media.build(name, folder).path
            client.upload_file(str(path), "media", f"videos/{path.name}")
        client.put_object(Bucket="media", Key="list.txt", Body=b"# two\ns3://media/videos/a.mkv\n\n/local/b.mp4\n")
        yield client
        store.stop()


def test_an_object_store_gives_the_same_frames(bucket: Any) -> None:
    processes = DecodeProcesses()
    found = list_media(["s3://media/videos"])
    assert found == ("s3://media/videos/a.mkv", "s3://media/videos/a.mp4")
    for uri in found:
        assert processes.probe(uri).codec == "h264"
        assert numbers(processes, uri) == list(range(60))
    with pytest.raises(MediaError, match=r"gone\.mp4: "):
        processes.probe("s3://media/videos/gone.mp4")


def test_a_presigned_address_needs_no_credentials(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = trusted(bucket.generate_presigned_url("get_object", Params={"Bucket": "media", "Key": "videos/a.mp4"}))
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    assert numbers(DecodeProcesses(), url) == list(range(60))


def test_a_manifest_lists_media(bucket: Any) -> None:
    assert list_media(["s3://media/list.txt"]) == ("s3://media/videos/a.mkv", "/local/b.mp4")


def test_a_batch_job_reads_from_private_hosts_only_when_it_is_told_to(
    server: RangeServer, processes: DecodeProcesses
) -> None:
    path = media.build("h264-mp4", server.folder).path
    url = server.url(path.name).partition("#")[0]
    (public,) = list_media([url])
    with pytest.raises(MediaError, match="not allowed"):
        processes.probe(public)
    (private,) = list_media([url], private_hosts=True)
    assert processes.probe(private).duration_s > 0
