"""Decoding in processes of its own, each started once and used for many files.

A decoder that crashes or hangs on a file ends its process, the file gets a MediaError, and the process with the models
goes on. Frames arrive as mapped memory, not as copies; decoding runs a few batches ahead of who takes them.
"""

import contextlib
import fcntl
import json
import logging
import math
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import MediaError, MediaUnavailable, file_name
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.frames import FrameBatch
from pipelines.media.sound import Samples
from pipelines.media.sources import MediaInfo, reader_environment

_STALL_LIMIT_S = 60.0
_MESSAGE_BYTES = 1 << 18
_ATTEMPTS = 2
# What a process with a GPU may know beyond the others: which one.
_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeLimits:
    """What reading a header may take: seconds in all, the memory of its process, and pixels of a frame; 0: no limit."""

    total_s: float = 0.0
    memory_bytes: int = 0
    most_pixels: int = 0


_UNLIMITED = ProbeLimits()


class ReaderEnded(Exception):
    """The decoding process is gone; the text says how."""


class DecodeProcesses:
    """Decoding processes, each started when first needed and kept; as many as are used at once.

    A process that nobody has used for `idle_limit_s` ends; None keeps them all. `credentials`: whether they get this
    process's access to object stores, without which they open presigned addresses, but no s3:// ones. Only those of
    the decoder "nvdec", which do nothing else, open a GPU.
    """

    def __init__(
        self,
        stall_limit_s: float = _STALL_LIMIT_S,
        idle_limit_s: float | None = None,
        credentials: bool = True,
        limits: ProbeLimits = _UNLIMITED,
    ) -> None:
        self._stall_limit_s, self._idle_limit_s, self._credentials = stall_limit_s, idle_limit_s, credentials
        self._limits = limits
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._reaper: threading.Timer | None = None
        self._proving = threading.Lock()
        self._nvdec_objection: str | None = None  # not known yet
        weakref.finalize(self, _end_all, self._idle)

    def warm_up(self, count: int) -> None:
        """Have this many ready: starting one takes a good part of a second."""
        started = [self._take() for _ in range(count)]
        for process in started:
            self._give_back(process)

    def nvdec_objection(self) -> str:
        """Why this machine's NVDEC cannot be relied on; "" if it can. Found out once; not if it ended a process."""
        with self._proving:
            if self._nvdec_objection is None:
                try:
                    header, _ = self._answer("", "prove", "")
                    self._nvdec_objection = str(header["objection"])
                except MediaError as error:
                    self._nvdec_objection = f"its proof failed: {error.cause}"
                _log.info("hardware decoding: %s", self._nvdec_objection or "NVDEC has proved itself")
            return self._nvdec_objection

    def read(
        self,
        decoder: str,
        uri: str,
        requests: Sequence[FrameRequest],
        batch_size: int,
        on_fallback: Callable[[str], None] = lambda text: None,
    ) -> Iterator[tuple[int, FrameBatch]]:
        """As Decoder.read. If the process dies it is tried once more in a new one, from where it was.

        Where that was NVDEC's, or hung with it, the CPU goes on. `on_fallback` is told why.
        Raises MediaError, also for a file that ends its process twice, or hangs.
        """

        def warn(text: str) -> None:
            _log.warning("%s: %s", file_name(uri), text)
            on_fallback(text)

        given, time_s = 0, min(request.segment.start_s for request in requests)
        attempts = [decoder, *["pyav"] * _ATTEMPTS] if decoder == "nvdec" else [decoder] * _ATTEMPTS
        for left, name in zip(reversed(range(len(attempts))), attempts, strict=True):
            count = 0
            try:
                for header, pixels in self._answers("read", name, uri, requests, batch_size):
                    if "fallback" in header:
                        warn(str(header["fallback"]))
                        continue
                    count += 1
                    if count > given:
                        given, time_s = count, float(header["times_s"][-1])
                        times = np.array(header["times_s"], np.float64)
                        yield int(header["number"]), FrameBatch(pixels, times, np.array(header["indices"], np.int64))
                return
            except (ReaderEnded, TimeoutError) as error:
                hung = isinstance(error, TimeoutError)
                cause = f"the decoder hung for {self._stall_limit_s:g} s" if hung else str(error)
                if name == "nvdec":
                    self._nvdec_objection = f"with {file_name(uri)}, {cause}"
                    warn(f"decoded by the CPU after {time_s:.3f} s, not by NVDEC: {cause}")
                elif hung or not left:
                    raise MediaError(uri, cause, time_s) from None

    def probe(self, uri: str) -> MediaInfo:
        """What the file is (see pipelines.media.sources). Raises MediaError."""
        header, _ = self._answer(uri, "probe", uri, self._limits.most_pixels)
        return MediaInfo.from_dict(header["info"])

    def sound(self, uri: str, start_s: float, end_s: float) -> tuple[Samples, MediaError | None]:
        """As pipelines.media.decoders.audio.read_samples. Raises MediaError."""
        header, data = self._answer(uri, "sound", uri, start_s, end_s)
        values = np.empty(0, np.float32) if data is None else data.reshape(-1).view(np.float32)
        damage = MediaError(uri, *header["damage"]) if header["damage"] else None
        return Samples(values, float(header["start_s"])), damage

    def picture(self, uri: str, sizes: Callable[[int, int], Sequence[tuple[int, int]]]) -> list[NDArray[np.uint8]]:
        """A picture, uint8 (H, W, 3), RGB, upright: once for each of the `sizes` of its displayed height and width.

        Raises MediaError.
        """
        with self._ended_as_media_error(uri), self._process() as process:
            ((header, _),) = process.answers(("picture", uri), self._stall_limit_s)
            wanted = list(sizes(int(header["height"]), int(header["width"])))
            distinct = list(dict.fromkeys(wanted))
            answers = process.answers(("pixels", uri, distinct), self._stall_limit_s)
            pixels = {(data.shape[1], data.shape[2]): data[0] for _, data in answers}
            if set(pixels) != set(distinct):
                raise ReaderEnded("the decoder gave other sizes than were asked for")
        return [pixels[size] for size in wanted]

    def _answer(self, uri: str, *request: Any) -> Any:
        with self._ended_as_media_error(uri):
            return next(iter(list(self._answers(*request))))

    @contextlib.contextmanager
    def _ended_as_media_error(self, uri: str) -> Iterator[None]:
        try:
            yield
        except ReaderEnded as error:
            raise MediaError(uri, str(error)) from None
        except TimeoutError:
            limit_s = min(self._stall_limit_s, self._limits.total_s or math.inf)
            raise MediaError(uri, f"could not be read within {limit_s:g} s") from None

    def _answers(self, *request: Any) -> Iterator[Any]:
        with self._process(nvdec=request[0] == "prove" or request[:2] == ("read", "nvdec")) as process:
            yield from process.answers(request, self._stall_limit_s, self._limits.total_s)

    @contextlib.contextmanager
    def _process(self, nvdec: bool = False) -> Iterator["_Process"]:
        process = self._take(nvdec)
        try:
            yield process
        except MediaError:
            self._give_back(process)
            raise
        except BaseException:  # also when the caller wants no more of it
            process.end()
            raise
        self._give_back(process)

    def _take(self, nvdec: bool = False) -> "_Process":
        with self._lock:
            for process in [process for process in reversed(self._idle) if process.nvdec is nvdec]:
                self._idle.remove(process)
                if process.is_alive():
                    return process
                process.end()
        return _Process(self._credentials, nvdec, self._limits.memory_bytes)

    def _give_back(self, process: "_Process") -> None:
        with self._lock:
            process.idle_since = time.monotonic()
            self._idle.append(process)
            self._reap_later()

    def _reap_later(self) -> None:
        if self._idle_limit_s is not None and self._reaper is None and self._idle:
            self._reaper = threading.Timer(self._idle_limit_s, self._reap)
            self._reaper.daemon = True
            self._reaper.start()

    def _reap(self) -> None:
        """End those that have been idle for too long."""
        with self._lock:
            since = time.monotonic() - (self._idle_limit_s or 0.0)
            ended = [process for process in self._idle if process.idle_since <= since]
            self._idle[:] = [process for process in self._idle if process.idle_since > since]
            self._reaper = None
            self._reap_later()
        _end_all(ended)


def _end_all(processes: "list[_Process]") -> None:
    while processes:
        processes.pop().end()


class _Process:
    """One decoding process and the socket to it. `idle_since` is on the monotonic clock, in seconds."""

    def __init__(self, credentials: bool, nvdec: bool = False, memory_bytes: int = 0) -> None:
        self.idle_since, self.nvdec = 0.0, nvdec
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "pipelines.media.decoders.process", str(theirs.fileno())]
        gpu = {name: os.environ[name] for name in _GPU_VARIABLES if nvdec and name in os.environ}
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603
                [*command, "nvdec" if nvdec else "", str(memory_bytes)],
                env=reader_environment(credentials) | gpu,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def end(self) -> None:
        """End it now."""
        self._channel.close()
        self.process.kill()
        self.process.wait()

    def answers(self, request: Any, stall_limit_s: float, total_s: float | None = None) -> Iterator[Any]:
        """What it sends: a header, and an array where there is one.

        Raises MediaError as it reports it, ReaderEnded, TimeoutError.
        """
        ends_at = time.monotonic() + (total_s or math.inf)
        self._channel.settimeout(stall_limit_s)
        try:
            self._channel.send(pickle.dumps(request))
            while True:
                left_s = ends_at - time.monotonic()  # who shows progress for ever is stopped all the same
                if left_s <= 0:
                    raise TimeoutError
                self._channel.settimeout(min(stall_limit_s, left_s))
                message, handles, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, 1)
                if not message:
                    raise ConnectionResetError
                answer = json.loads(message)
                if handles:
                    yield answer, _mapped(answer, handles[0])
                    self._channel.send(b"+")
                elif "error" in answer:
                    kind = MediaUnavailable if answer["for_now"] else MediaError
                    raise kind(_uri_of(request), str(answer["error"]), answer["time_s"])
                elif "end" in answer:
                    return
                elif answer:
                    yield answer, None
        except (BrokenPipeError, ConnectionResetError):
            raise ReaderEnded(f"the decoder crashed ({self._ending()})") from None

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.process.wait(timeout=5)
            return signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return "it closed its socket"


def _uri_of(request: Any) -> str:
    return str(request[2] if request[0] == "read" else request[1])


def _mapped(header: dict[str, Any], handle: int) -> NDArray[np.uint8]:
    """The array that a message announces. Its memory is checked: who sent it is not trusted."""
    try:
        shape = tuple(int(n) for n in header["shape"])
        sealed = fcntl.fcntl(handle, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        if len(shape) != 4 or min(shape) < 1 or not sealed or os.fstat(handle).st_size < int(np.prod(shape)):
            raise ConnectionResetError
        memory = mmap.mmap(handle, int(np.prod(shape)), flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    finally:
        os.close(handle)
    return np.frombuffer(memory, np.uint8).reshape(shape)
