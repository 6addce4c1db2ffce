"""How long media is, asked of a process of its own; the same item is not read twice within minutes."""

from collections.abc import Callable

from pipelines.errors import MediaError
from pipelines.media.sources import MediaInfo
from serve_apps.work.fair_pool import FairPool

_AT_ONCE, _OF_ONE_KEY = 4, 2
_REMEMBERED = 512


class Prober:
    """Reads headers, four at a time, for one key at most two. `probe` blocks and raises MediaError.

    `readable` makes a URI that it can open.
    """

    def __init__(self, probe: Callable[[str], MediaInfo], readable: Callable[[str], str]) -> None:
        self._probe, self._readable = probe, readable
        self._pool = FairPool(_AT_ONCE, _OF_ONE_KEY, "estimates")
        self._known: dict[str, float] = {}

    async def duration_s(self, uri: str, key: str = "") -> float:
        """Seconds. Raises ValueError in words for people."""
        if (known := self._known.get(uri)) is not None:
            return known
        try:
            info = await self._pool.run(key, lambda: self._probe(self._readable(uri)))
        except MediaError as error:
            raise ValueError(str(error)) from None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[uri] = info.duration_s
        return info.duration_s
