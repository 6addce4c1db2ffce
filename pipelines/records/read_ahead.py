"""Reading many small objects: from an object store it is waiting, which several can do at the same time."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Name = TypeVar("_Name")
_Read = TypeVar("_Read")
_AHEAD = 8


def read_ahead(read: Callable[[_Name], _Read], names: Sequence[_Name], ahead: int = _AHEAD) -> Generator[_Read]:
    """`read(name)` of each, in order; at most `ahead` are in memory or under way. Raises what `read` raises."""
    if len(names) < 2:
        yield from map(read, names)
        return
    under_way: deque[Future[_Read]] = deque()
    pool = ThreadPoolExecutor(min(ahead, len(names)))
    try:
        for name in names:
            under_way.append(pool.submit(read, name))
            if len(under_way) == ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
