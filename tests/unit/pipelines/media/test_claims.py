"""What strangers' headers claim, and what reading them may cost: time, memory, and belief."""

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.errors import MediaError
from pipelines.media.addresses import trusted
from pipelines.media.isolation import DecodeProcesses, ProbeLimits
from pipelines.media.sources import probe

LIMITS = ProbeLimits(total_s=2.0, memory_bytes=512 << 20, most_pixels=1 << 26)


def tiny_video(path: Path, times_s: Sequence[int]) -> Path:
    """Some hundred bytes: a few black frames, shown at these seconds."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1)
        for time_s in times_s:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time_s, Fraction(1, 1)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("claimed_s", [100_000, 10_000_000])
def test_a_file_of_some_hundred_bytes_is_not_believed_to_last_for_days(claimed_s: int, tmp_path: Path) -> None:
    path = tiny_video(tmp_path / "claims.mp4", (0, claimed_s))
    assert path.stat().st_size < 2000
    assert probe(str(path)).duration_s <= 1200.0


def test_what_files_say_in_earnest_is_believed(tmp_path: Path) -> None:
    path = tiny_video(tmp_path / "slides.mp4", range(30))
    assert probe(str(path)).duration_s == pytest.approx(30.0, abs=1.1)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width * 3 + 1) * 64), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_frame_that_is_too_large_is_not_decoded(tmp_path: Path) -> None:
    path = tiny_video(tmp_path / "clip.mov", (0, 1))
    assert DecodeProcesses(20.0, limits=ProbeLimits(most_pixels=100_000)).probe(str(path)).width == 16
    with pytest.raises(MediaError, match="frames of 16x16 pixels; at most 255 pixels are read"):
        DecodeProcesses(20.0, limits=ProbeLimits(most_pixels=255)).probe(str(path))


def test_a_picture_in_a_film_cannot_take_the_heads_memory(tmp_path: Path) -> None:
    """The film's header says 16 by 16; the picture inside has 400 million pixels."""
    path = tmp_path / "bomb.mov"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        packet = av.Packet(png_header(20_000, 20_000))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1)
        target.mux(packet)
    began = time.monotonic()
    with pytest.raises(MediaError):
        DecodeProcesses(20.0, limits=LIMITS).probe(str(path))
    assert time.monotonic() - began < 20


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """A server that sends a byte now and then, for ever."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = listening.accept()
                    threading.Thread(target=drip, args=(connection,), daemon=True).start()

        def drip(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not stop.wait(0.05):
                    connection.sendall(b"\0")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/a.mp4"
        stop.set()


def test_a_server_that_drips_is_left_when_the_time_is_over() -> None:
    began = time.monotonic()
    with dripping() as url, pytest.raises(MediaError, match="could not be read within 2 s"):
        DecodeProcesses(30.0, limits=LIMITS).probe(trusted(url))
    assert time.monotonic() - began < 15
