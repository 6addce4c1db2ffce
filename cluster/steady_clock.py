"""Unix time that never jumps, for deadlines, leases and money."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

# Where Ray's Python processes on the head find the file `kept`; only they have the variable.
KEPT = "AIMA_CLOCK"
# How much of a wrong time is made good in the time that passes: five minutes take eight hours.
_RATE = 0.01
# Kept anew when it has moved so much; further than this from the wall clock, what was kept is not believed.
_WORTH_KEEPING_S, _BELIEVED_S = 0.1, 3600.0
# Counts a laptop's sleep, which is billed like any other time.
_since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def _boot() -> str:
    """Which boot of the machine `_since_boot` counts from; "" where nobody says."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


class SteadyClock:
    """Unix seconds. A step of the machine's clock (it was minutes off, and was set) is followed slowly, not taken.

    Taken, a step forward would end machines that boot and leases that are kept, a step back would stop every round
    that waits for its time. `wall` gives unix seconds, `steady` seconds that only advance, since the boot that `boot`
    names. Processes that share the file `kept` agree on the time, and one that is started again while the wall clock
    is minutes off goes on with the time it had: leases that another wrote are no older, and a bill no longer, for it.
    Safe for threads.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _since_boot,
        kept: Path | None = None,
        boot: Callable[[], str] = _boot,
    ) -> None:
        self._wall, self._steady, self._kept, self._boot = wall, steady, kept, boot()
        self._adjusting = threading.Lock()
        self._at = steady()
        self._offset = wall() - self._at
        earlier = self._read()
        if earlier is not None and abs(earlier - self._offset) <= _BELIEVED_S:
            self._offset = self._written = earlier
        else:
            self._write()

    def __call__(self) -> float:
        """Now."""
        now = self._steady()
        # Nobody waits for it: time is asked for in signal handlers, and in a fork of a process that was adjusting.
        if self._adjusting.acquire(blocking=False):
            try:
                self._adjust(now)
            finally:
                self._adjusting.release()
        return now + self._offset

    def _adjust(self, now: float) -> None:
        error, most = self._wall() - now - self._offset, max(now - self._at, 0.0) * _RATE
        self._offset += min(max(error, -most), most)
        self._at = max(now, self._at)
        if abs(self._offset - self._written) > _WORTH_KEEPING_S:
            self._write()

    def _read(self) -> float | None:
        """What was kept since the machine has booted, if anything."""
        if self._kept is None:
            return None
        try:
            found = json.loads(self._kept.read_text(encoding="utf-8"))
            return float(found["offset_s"]) if self._boot and found["boot"] == self._boot else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self) -> None:
        self._written = self._offset
        if self._kept is None:
            return
        own = self._kept.with_name(f"{self._kept.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk stops no clock
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"boot": self._boot, "offset_s": self._offset}, file)
            own.replace(self._kept)


def install(clock: Callable[[], float]) -> None:
    """`time.time` of this process is `clock` from here on."""
    time.time = clock
    time.time_ns = lambda: int(clock() * 1e9)


def install_kept(environment: Mapping[str, str] = os.environ) -> None:
    """`time.time` of this process never jumps from here on, if its environment names where the time is kept.

    Serve and Ray's autoscaler count delays, deadlines and the age of reports by the wall clock. Set back by minutes, it
    would keep an idle replica, and the GPU under it, for minutes.
    """
    if place := environment.get(KEPT):
        install(SteadyClock(kept=Path(place)))
