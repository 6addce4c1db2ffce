"""Decoding in processes of its own, each started once and used for many files.

A decoder that crashes or hangs on a file ends its process, the file gets a MediaError, and the process with the models
goes on. Frames arrive as mapped memory, not as copies; decoding runs a few batches ahead of who takes them.
"""

import contextlib
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import MediaError, file_name
from pipelines.media.decoders.channel import DecodeProcess, ReaderEnded
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.frames import FrameBatch
from pipelines.media.sound import Samples
from pipelines.media.sources import MediaInfo

_STALL_LIMIT_S = 60.0
_ATTEMPTS = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeLimits:
    """What reading a header may take: seconds in all, the memory of its process, and pixels of a frame; 0: no limit."""

    total_s: float = 0.0
    memory_bytes: int = 0
    most_pixels: int = 0


_UNLIMITED = ProbeLimits()


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
        self._idle: list[DecodeProcess] = []
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
    def _process(self, nvdec: bool = False) -> Iterator[DecodeProcess]:
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

    def _take(self, nvdec: bool = False) -> DecodeProcess:
        with self._lock:
            for process in [process for process in reversed(self._idle) if process.nvdec is nvdec]:
                self._idle.remove(process)
                if process.is_alive():
                    return process
                process.end()
        return DecodeProcess(self._credentials, nvdec, self._limits.memory_bytes)

    def _give_back(self, process: DecodeProcess) -> None:
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


def _end_all(processes: list[DecodeProcess]) -> None:
    while processes:
        processes.pop().end()
