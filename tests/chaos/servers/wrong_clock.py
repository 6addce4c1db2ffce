"""The wall clock of one machine's Python, off by what a file says.

`clocks.py` copies this file as `sitecustomize.py`.

Every Python process that finds it on its path runs it first, so that nobody has taken `time.time` yet. It changes
nothing of the machine's clock and needs no library in front of the C library's, which Ray's own threads would not bear.
"""

import mmap
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

SIZE = 8
HEAD = "head"
_DOUBLE = struct.Struct("<d")
_time, _time_ns = time.time, time.time_ns
_offset: mmap.mmap | None = None


def machine_of(environment: Mapping[str, str]) -> str:
    """Whose clock a process reads: its rented machine's, the head's, or "" for the machine's own."""
    return environment.get("AIMA_INSTANCE") or (HEAD if environment.get("AIMA_CLUSTER") else "")


def wrong_time() -> float:
    """Unix seconds, as this machine would say."""
    return _time() + _offset_s()


def wrong_time_ns() -> int:
    """The same in nanoseconds."""
    return _time_ns() + int(_offset_s() * 1e9)


def _offset_s() -> float:
    return float(_DOUBLE.unpack_from(_offset or bytes(SIZE))[0])


def put(path: Path, offset_s: float) -> None:
    """The clocks that read `path` are off by so much from now on."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, SIZE)
        os.pwrite(descriptor, _DOUBLE.pack(offset_s), 0)
    finally:
        os.close(descriptor)


def install(folder: Path, environment: Mapping[str, str]) -> None:
    """From here on this process reads the clock of its machine."""
    global _offset
    if not (machine := machine_of(environment)):
        return
    descriptor = os.open(folder / machine, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, SIZE)
        _offset = mmap.mmap(descriptor, SIZE)
    finally:
        os.close(descriptor)
    time.time, time.time_ns = wrong_time, wrong_time_ns


if __name__ == "sitecustomize":
    install(Path(__file__).parent / "offsets", os.environ)
