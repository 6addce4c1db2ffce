"""The process that decodes: `python -m pipelines.media.decoders.process FD`, one file at a time, until it is closed.

It runs FFmpeg and Pillow on strangers' files, so it holds no secret and is trusted with nothing: it answers in JSON,
and its frames lie in sealed shared memory. A file that crashes or hangs them ends this process and nothing else.
`python -m pipelines.media.decoders.process FD nvdec` may open a GPU; see pipelines.media.decoders.nvdec.
"""

import contextlib
import faulthandler
import fcntl
import json
import mmap
import os
import pickle
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import MediaError, MediaUnavailable
from pipelines.media.decoders.contract import FrameRequest, load_decoder
from pipelines.media.sources import picture_info, probe, read_head

MEMORY_LIMIT_BYTES = 8 << 30
STALL_LIMIT_S = 60.0
# Batches sent that the receiver has not yet asked beyond: how far decoding runs ahead of the models.
AHEAD = 4
_TICK_S = 1.0
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SharedPixels:
    """Arrays in shared memory that another process can map by their file descriptor."""

    def __init__(self) -> None:
        self._handles: dict[int, int] = {}

    def new(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """uint8 zeros of this shape."""
        handle = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(handle, int(np.prod(shape)))
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALS)
        array = np.frombuffer(mmap.mmap(handle, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE), np.uint8).reshape(shape)
        self._handles[array.ctypes.data] = handle
        return array

    def take_handle(self, pixels: NDArray[np.uint8]) -> int:
        """The file descriptor of an array made by `new` (or its first rows); others are copied into a new one."""
        if pixels.ctypes.data not in self._handles:
            copy = self.new(pixels.shape)
            copy[:] = pixels
            pixels = copy
        return self._handles.pop(pixels.ctypes.data)

    def clear(self) -> None:
        """Forget what was never taken."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles = {}


class _Worker:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unread = 0  # batches sent and not yet acknowledged
        self._pixels = SharedPixels()
        self._last_tick_s = 0.0
        self._kinds: dict[str, Callable[..., None]] = {
            "probe": self._probe,
            "read": self._read,
            "prove": self._prove,
            "sound": self._sound,
            "picture": self._open_picture,
            "pixels": self._send_pixels,
        }
        self._picture: Any = None  # between a request for its size and one for its pixels

    def serve(self) -> None:
        """Answer requests until the other side closes."""
        while message := self._channel.recv(1 << 20):
            kind, *arguments = pickle.loads(message)  # noqa: S301 - from the process that started this one
            answer: dict[str, Any] = {"end": True}
            try:
                self._kinds[kind](*arguments)
            except MediaError as error:
                for_now = isinstance(error, MediaUnavailable)
                answer = {"error": error.cause, "time_s": error.time_s, "for_now": for_now}
            except MemoryError:
                answer = {"error": "needs too much memory to decode", "time_s": None, "for_now": False}
            self._pixels.clear()
            faulthandler.cancel_dump_traceback_later()
            while self._unread:
                self._acknowledged()
            self._channel.send(json.dumps(answer).encode())

    def _probe(self, uri: str, most_pixels: int) -> None:
        self._on_progress()
        picture = picture_info(uri, read_head(uri))
        self._channel.send(json.dumps({"info": (picture or probe(uri, most_pixels)).to_dict()}).encode())

    def _read(self, name: str, uri: str, requests: Sequence[FrameRequest], batch_size: int) -> None:
        options: dict[str, Any] = {}
        if name != "decord":
            options |= {"new_pixels": self._pixels.new, "on_progress": self._on_progress}
        if name == "nvdec":
            options["on_fallback"] = lambda text: self._channel.send(json.dumps({"fallback": text}).encode())
        self._on_progress()
        for number, batch in load_decoder(name, **options).read(uri, requests, batch_size):
            times, indices = batch.times_s.tolist(), batch.indices.tolist()
            self._send({"number": number, "times_s": times, "indices": indices}, batch.pixels)

    def _prove(self, _uri: str) -> None:
        from pipelines.media.decoders.nvdec import nvdec_objection  # noqa: PLC0415

        self._on_progress()
        self._channel.send(json.dumps({"objection": nvdec_objection()}).encode())

    def _sound(self, uri: str, start_s: float, end_s: float) -> None:
        from pipelines.media.decoders.audio import read_samples  # noqa: PLC0415

        self._on_progress()
        samples, damage = read_samples(uri, start_s, end_s)
        header = {"start_s": samples.start_s, "damage": (damage.cause, damage.time_s) if damage else None}
        if len(samples.values):
            self._send(header, np.ascontiguousarray(samples.values).view(np.uint8).reshape(-1, 4, 1, 1))
        else:
            self._channel.send(json.dumps(header).encode())

    def _open_picture(self, uri: str) -> None:
        from pipelines.media.decoders.still_image import OpenPicture  # noqa: PLC0415

        self._on_progress()
        self._picture = OpenPicture(uri)
        self._channel.send(json.dumps({"height": self._picture.height, "width": self._picture.width}).encode())

    def _send_pixels(self, _uri: str, sizes: Sequence[tuple[int, int]]) -> None:
        self._on_progress()
        picture, self._picture = self._picture, None
        for pixels in picture.pixels(sizes):
            self._send({}, pixels[None])

    def _send(self, header: dict[str, Any], data: NDArray[np.uint8]) -> None:
        message = json.dumps(header | {"shape": data.shape}).encode()
        handle = self._pixels.take_handle(data)
        faulthandler.cancel_dump_traceback_later()  # waiting for the models is no stall
        while self._unread >= AHEAD:
            self._acknowledged()
        socket.send_fds(self._channel, [message], [handle])
        self._unread += 1
        os.close(handle)
        self._on_progress()

    def _acknowledged(self) -> None:
        if not self._channel.recv(1):
            os._exit(0)  # nobody wants the frames any more
        self._unread -= 1

    def _on_progress(self) -> None:
        """Show the receiver that the file is not stuck; if it is, end, even where no Python code runs any more."""
        now = time.monotonic()
        if now - self._last_tick_s > _TICK_S:
            self._last_tick_s = now
            self._channel.send(b"{}")
            faulthandler.dump_traceback_later(STALL_LIMIT_S * 1.5, exit=True)


def main(handle: int, decoder: str = "", memory_bytes: str = "0") -> None:
    """Serve on an inherited socket. With `memory_bytes`, that much memory, else MEMORY_LIMIT_BYTES."""
    # CUDA reserves addresses for all memory of the machine and its GPUs, and libraries for what they may need: there,
    # and where the limit is small, only what is written to is limited.
    limited = resource.RLIMIT_DATA if decoder == "nvdec" or int(memory_bytes) else resource.RLIMIT_AS
    limit = int(memory_bytes) or MEMORY_LIMIT_BYTES
    resource.setrlimit(limited, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=handle) as channel, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _Worker(channel).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
