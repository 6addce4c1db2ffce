"""What a person who waits is told."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_EVERY_S = 5.0


def told(items: Iterable[_Item], total: int, what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[_Item]:
    """The items, `total` of them; every few seconds a line says how many there were and how long the rest may take.

    What is over before the first line is due is not worth one.
    """
    started = last = clock()
    for done, item in enumerate(items, start=1):
        if (now := clock()) - last >= _EVERY_S:
            last = now
            left_s = (now - started) / done * (total - done)
            print(f"{done}/{total} {what}, about {left_s:.0f} s left", flush=True)
        yield item
