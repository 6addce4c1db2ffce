"""An event loop whose timers cost no time: where others would sleep, its own clock jumps ahead."""

import asyncio
import selectors
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For simulation: deterministic, and as fast as its tasks. Nothing in it may wait for threads or sockets."""

    def __init__(self) -> None:
        self.jumped_s = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds on the loop's own clock."""
        return self.jumped_s


class _Jumping(selectors.SelectSelector):
    """Polls instead of waiting, and lets the loop's clock jump over what it would have waited."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self._loop.jumped_s += timeout
            timeout = 0
        return super().select(timeout)
