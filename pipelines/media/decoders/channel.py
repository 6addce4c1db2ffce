"""One decoding process and the socket to it, as whoever uses it sees them. What the process does: process.py."""

import contextlib
import fcntl
import json
import math
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import MediaError, MediaUnavailable
from pipelines.media.sources import reader_environment

_MESSAGE_BYTES = 1 << 18
# What a process with a GPU may know beyond the others: which one.
_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


class ReaderEnded(Exception):
    """The decoding process is gone; the text says how."""


class DecodeProcess:
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
