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
# Kept anew so often in any case: a machine that boots without a clock goes on from there.
_KEEP_EVERY_S = 60.0
# Before this, the first day of 2026 (UTC), no clock that has been set can be: it shows when its machine's clock began.
EARLIEST = 1_767_225_600.0
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
    A wall clock before EARLIEST has not been set yet: time goes on from the last that was kept, and the first time that
    the clock is set to is taken at once. Until then `is_set` is False, and nothing should be bought by such a time.
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
        self.is_set = wall() >= EARLIEST
        earlier, last = self._read()
        if earlier is not None and (not self.is_set or abs(earlier - self._offset) <= _BELIEVED_S):
            self._offset = earlier
        elif not self.is_set and last is not None:
            self._offset = last - self._at
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
        wall = self._wall()
        error, most = wall - now - self._offset, max(now - self._at, 0.0) * _RATE
        if wall < EARLIEST:
            error = 0.0  # it says nothing
        elif not self.is_set:
            self.is_set, most = True, abs(error)
        self._offset += min(max(error, -most), most)
        self._at = max(now, self._at)
        moved = abs(self._offset - self._written) > _WORTH_KEEPING_S
        if moved or self._at - self._written_at >= _KEEP_EVERY_S:
            self._write()

    def _read(self) -> tuple[float | None, float | None]:
        """What was kept: the offset, unless the machine has booted since, and the time then; None for what is not."""
        if self._kept is None:
            return None, None
        try:
            found = json.loads(self._kept.read_text(encoding="utf-8"))
            offset_s, at = float(found["offset_s"]), float(found.get("at", 0.0))
            same_boot = bool(self._boot) and found["boot"] == self._boot
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None, None
        return offset_s if same_boot else None, at if at >= EARLIEST else None

    def _write(self) -> None:
        self._written, self._written_at = self._offset, self._at
        if self._kept is None:
            return
        own = self._kept.with_name(f"{self._kept.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk stops no clock
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"boot": self._boot, "offset_s": self._offset, "at": self._at + self._offset}, file)
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
