"""Sound as an array, and where to cut it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000


@dataclass(frozen=True)
class Samples:
    """Mono sound. values: float32 (N,), -1 to 1, 16,000 a second. `start_s` is the time of the first, from the clock's
    zero: the first frame where the file has a picture, else the first sample. So words and frames share one clock.
    """

    values: NDArray[np.float32]
    start_s: float

    @property
    def end_s(self) -> float:
        """The time at which the last sample ends."""
        return self.start_s + len(self.values) / RATE_HZ

    def between(self, start_s: float, end_s: float) -> "Samples":
        """The part within [start_s, end_s). Neighbouring parts share no sample and lose none."""
        bounded = (min(max(time_s, self.start_s), self.end_s) for time_s in (start_s, end_s))
        first, last = (round((time_s - self.start_s) * RATE_HZ) for time_s in bounded)
        return Samples(self.values[first:last], self.start_s + first / RATE_HZ)


def cut_near(border_s: float, window: tuple[float, float], speech: Sequence[tuple[float, float]]) -> float:
    """Where to cut instead of at `border_s`: amid the longest pause of `speech` (sorted ranges) inside the window.

    The border itself, where it is not spoken, or where nobody ever pauses.
    """
    if not any(start < border_s < end for start, end in speech):
        return border_s
    edges = [window[0], *(edge for span in speech for edge in span), window[1]]
    pauses = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]
    if not pauses:
        return border_s
    start, end = max(pauses, key=lambda pause: (pause[1] - pause[0], -abs(sum(pause) / 2 - border_s)))
    return (start + end) / 2
