"""Media at URLs: read by ranges, gone on with after a cut, and never from a private address."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import httpcore
import pytest

from pipelines.errors import MediaError, MediaUnavailable, Unavailable
from pipelines.media.addresses import WebAddress, read_address, trusted
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.decoders.pyav import PyAvDecoder
from pipelines.media.http_file import open_http
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sample_video import sample_video
from pipelines.media.sampling import Segment, parse_sampling
from pipelines.media.sources import probe, read_head
from tests.support.samples.media import CLIPS, build

CONTENT = os.urandom(3 << 20)


class Server(ThreadingHTTPServer):
    """Serves CONTENT as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.content, self.ranges, self.cut_after, self.location = CONTENT, True, 0, ""
        self.busy = 0  # so many requests are turned away first
        self.busy_from = 1 << 30  # what lies beyond this byte is not to be had
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """What our own storage's would be: it may lie inside."""
        return trusted(self.strangers_url)

    @property
    def strangers_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/bikes.mp4"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range", ""))
        if server.busy:
            server.busy -= 1
            self.send_error(503, "Slow Down")
            return
        if server.location:
            self.send_response(302)
            self.send_header("Location", server.location)
            self.end_headers()
            return
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.ranges else None
        start = int(found[1]) if found else 0
        if start >= server.busy_from:
            self.send_error(503, "Slow Down")
            return
        body = server.content[start:]
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cut_after:
            body, server.cut_after = body[: server.cut_after], 0
            self.close_connection = True
        self.close_connection |= start + len(body) > server.busy_from
        self.wfile.write(body[: server.busy_from - start])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def web(text: str) -> WebAddress:
    address = read_address(text)
    assert isinstance(address, WebAddress)
    return address


def test_a_file_is_read_where_it_is_wanted() -> None:
    with serving() as server, open_http(web(server.url)) as file:
        assert file.read(10) == CONTENT[:10]
        file.seek(-5, 2)
        assert file.read() == CONTENT[-5:]
        file.seek(2 << 20)
        assert file.read(7) == CONTENT[2 << 20 : (2 << 20) + 7]
        file.seek(0)
        assert file.read() == CONTENT
        assert file.read(1) == b""
        assert server.asked[0] == "bytes=0-"


def test_a_cut_is_gone_on_with() -> None:
    with serving() as server:
        server.cut_after = 1 << 20
        with open_http(web(server.url)) as file:
            assert file.read() == CONTENT
        assert len(server.asked) == 2


def test_a_busy_server_is_asked_again_and_in_the_end_is_unavailable() -> None:
    pauses: list[float] = []
    with serving() as server:
        server.busy = 2
        with open_http(web(server.url), pause=pauses.append) as file:
            assert file.read() == CONTENT
        assert pauses == [0.5, 2.0]
        server.busy = 3
        with pytest.raises(Unavailable, match="the server answers 503 Slow Down"):
            open_http(web(server.url), pause=pauses.append)
        assert len(server.asked) == 6


def test_a_server_that_is_busy_in_the_midst_is_gone_on_with() -> None:
    with serving() as server, open_http(web(server.url), pause=lambda _s: None) as file:
        assert file.read(10) == CONTENT[:10]
        file.seek(2 << 20)
        server.busy = 2
        assert file.read() == CONTENT[2 << 20 :]


def test_what_a_busy_server_holds_is_not_taken_for_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment later its header can be read, as that of a video: the picture would have failed for good."""
    monkeypatch.setattr("pipelines.media.http_file._PAUSES_S", (0.0, 0.0))
    with serving() as server:
        server.busy = 3
        with pytest.raises(MediaUnavailable, match="the server answers 503 Slow Down"):
            read_head(server.url)
        assert CONTENT.startswith(read_head(server.url))


def test_nobody_listens_and_media_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.media.http_file._PAUSES_S", (0.0, 0.0))
    with serving() as server:
        gone = server.url
    with pytest.raises(MediaUnavailable, match="refused"):
        probe(gone)


def test_a_video_whose_server_breaks_off_for_now_is_unavailable_and_not_damaged(tmp_path: Path) -> None:
    """In the midst of decoding, through FFmpeg and out of the decoding process."""
    seen: list[int] = []

    def look(url: str) -> None:
        everything = FrameRequest(Segment(0, 0.0, 1e6), parse_sampling("all", 10.0), (32, 32))
        seen.extend(len(batch.times_s) for _number, batch in DecodeProcesses().read("pyav", url, [everything], 16))

    with serving() as server:
        server.content = index_first(tmp_path).read_bytes()
        server.busy_from = len(server.content) * 3 // 4
        with pytest.raises(MediaUnavailable, match="the server answers 503 Slow Down"):
            look(server.url)
    assert 0 < sum(seen) < 250


@pytest.mark.parametrize(("name", "options"), [("a.mkv", {}), ("a.mp4", {"movflags": "frag_keyframe+empty_moov"})])
def test_a_later_segment_comes_from_a_server_that_knows_no_ranges(
    name: str, options: dict[str, str], tmp_path: Path
) -> None:
    """What an earlier one has counted is of no use there: nothing can be sought."""
    path = remuxed(tmp_path / name, options)

    def numbers(url: str, start_s: float) -> list[int]:
        request = FrameRequest(Segment(1, start_s, 10.0, last=True), parse_sampling("all", 10.0), (48, 80))
        return [int(n) for _, batch in PyAvDecoder().read(url, [request], 16) for n in batch.indices]

    with serving() as server:
        server.content, server.ranges = path.read_bytes(), False
        assert numbers(server.url, 0.0) == list(range(250))
        assert numbers(server.url, 9.8) == list(range(245, 250))


def index_first(folder: Path) -> Path:
    """The sample, so that it can be decoded while it arrives."""
    return remuxed(folder / "fast.mp4", {"movflags": "faststart"})


def remuxed(path: Path, options: dict[str, str] | None = None) -> Path:
    """The sample in another container."""
    with av.open(str(sample_video())) as source, av.open(str(path), "w", options=options or {}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def test_a_server_without_ranges_is_read_once() -> None:
    with serving() as server:
        server.ranges = False
        with open_http(web(server.url)) as file:
            assert not file.seekable()
            assert file.read() == CONTENT


def test_a_video_is_probed_over_http(tmp_path: Path) -> None:
    clip = build(CLIPS[0], tmp_path).path
    with serving() as server:
        server.content = clip.read_bytes()
        info = probe(server.url)
        assert (info.width, info.duration_s) == (probe(str(clip)).width, probe(str(clip)).duration_s)


def test_strangers_urls_never_lead_inside() -> None:
    with serving() as server, pytest.raises(OSError, match="not on the public internet"):
        open_http(web(server.strangers_url))
    assert server.asked == []
    with serving() as server, pytest.raises(MediaError, match="not on the public internet"):
        probe(server.strangers_url)
    assert server.asked == []


def test_neither_does_a_redirect_nor_a_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    public, connect = "93.184.216.34", httpcore.SyncBackend.connect_tcp

    def rewired(self: Any, host: str, *more: Any, **named: Any) -> Any:
        return connect(self, "127.0.0.1" if host == public else host, *more, **named)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", rewired)
    names = {"public.example": [public], "changed.example": ["10.0.0.1"]}
    with serving() as server:
        for host in ("169.254.169.254", "127.0.0.1", "[::1]", "changed.example"):
            server.location = f"http://{host}:{server.server_port}/latest/meta-data/"
            with pytest.raises(OSError, match="not on the public internet"):
                open_http(web(f"http://public.example:{server.server_port}/x"), lambda name: names.get(name, [name]))
        assert len(server.asked) == 4  # the public name each time, and nothing after it
