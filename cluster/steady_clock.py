"""Unix time that never jumps, for deadlines, leases and money."""

import time
from collections.abc import Callable

# How much of a wrong time is made good in the time that passes: five minutes take eight hours.
_RATE = 0.01


class SteadyClock:
    """Unix seconds. A step of the machine's clock (it was minutes off, and was set) is followed slowly, not taken.

    Taken, a step forward would end machines that boot and leases that are kept, a step back would stop every round
    that waits for its time. `wall` gives unix seconds, `steady` seconds that only advance.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._at = steady()
        self._offset = wall() - self._at

    def __call__(self) -> float:
        """Now."""
        now = self._steady()
        error, most = self._wall() - now - self._offset, (now - self._at) * _RATE
        self._offset += min(max(error, -most), most)
        self._at = now
        return now + self._offset
