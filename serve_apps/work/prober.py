"""How long media is, asked of a process of its own; the same item is not read twice within minutes."""

import asyncio
from collections.abc import Callable

from pipelines.errors import MediaError
from pipelines.media.sources import MediaInfo

_AT_ONCE = 2
_REMEMBERED = 512


class Prober:
    """Reads headers, two at a time. `probe` blocks and raises MediaError; `readable` makes a URI that it can open."""

    def __init__(self, probe: Callable[[str], MediaInfo], readable: Callable[[str], str]) -> None:
        self._probe, self._readable = probe, readable
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[str, float] = {}

    async def duration_s(self, uri: str) -> float:
        """Seconds. Raises ValueError in words for people."""
        if (known := self._known.get(uri)) is not None:
            return known
        async with self._turn:
            try:
                info = await asyncio.to_thread(self._probe, self._readable(uri))
            except MediaError as error:
                raise ValueError(str(error)) from None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[uri] = info.duration_s
        return info.duration_s
