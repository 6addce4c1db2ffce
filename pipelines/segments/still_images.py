"""Pictures through the analyzers of frames: each a video of one frame; and `python -m pipelines.images`, a batch job.

They are decoded in processes beside the models, several ahead, and go through the models many at a time.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.contract import Analyzer, SegmentRun
from pipelines.errors import MediaError
from pipelines.media.decoders.contract import frames_per_batch
from pipelines.media.frames import FrameBatch
from pipelines.media.isolation import DecodeProcesses

_READERS_AT_MOST = 4
Pixels = list[NDArray[np.uint8]]


def watch_pictures(
    uris: Sequence[str], analyzers: Sequence[Analyzer], runs: Sequence[SegmentRun], processes: DecodeProcesses
) -> list[MediaError]:
    """Show each picture to each analyzer's run, as the frame of its number, at 0 s, in the size that it wants.

    Returns the errors of those that cannot be read. A decoder that crashes or hangs costs its own picture.
    """

    def read(uri: str) -> Pixels | MediaError:
        try:
            return processes.picture(uri, lambda height, width: [a.frame_size(height, width) for a in analyzers])
        except MediaError as error:
            return error

    errors = []
    shown = [_Together(run) for run in runs]
    for number, found in enumerate(_read_ahead(uris, read)):
        if isinstance(found, MediaError):
            errors.append(found)
            continue
        for together, pixels in zip(shown, found, strict=True):
            together.add(number, pixels)
    for together in shown:
        together.flush()
    return errors


def _read_ahead(uris: Sequence[str], read: Callable[[str], Pixels | MediaError]) -> Iterator[Pixels | MediaError]:
    """What `read` gives, in order; a few pictures at once, and a few more than are asked for."""
    readers = max(1, min(_READERS_AT_MOST, os.cpu_count() or 1, len(uris)))
    waiting: deque[Future[Pixels | MediaError]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        for uri in uris:
            waiting.append(pool.submit(read, uri))
            if len(waiting) > 4 * readers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Together:
    """Gives a run its pictures in batches of one size, in order. They are copied: each that is mapped holds a file."""

    def __init__(self, run: SegmentRun) -> None:
        self._run = run
        self._pixels = np.empty((0, 0, 0, 3), np.uint8)
        self._numbers: list[int] = []

    def add(self, number: int, pixels: NDArray[np.uint8]) -> None:
        height, width = pixels.shape[:2]
        if self._pixels.shape[1:3] != (height, width):
            self.flush()
            self._pixels = np.empty((frames_per_batch((height, width)), height, width, 3), np.uint8)
        self._pixels[len(self._numbers)] = pixels
        self._numbers.append(number)
        if len(self._numbers) == len(self._pixels):
            self.flush()

    def flush(self) -> None:
        if count := len(self._numbers):
            numbers = np.array(self._numbers, np.int64)
            self._run.add(FrameBatch(self._pixels[:count], np.zeros(count), numbers))
            self._pixels, self._numbers = np.empty_like(self._pixels), []
