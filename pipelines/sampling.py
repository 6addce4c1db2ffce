"""Time arithmetic: cutting a video into segments, and choosing its frames. Nothing here touches a file.

The rule that makes segments join: a frame belongs to the one segment that contains its own time, and whether it is
sampled depends on its own time and the next frame's only. So every sampled frame comes exactly once, whatever the
segmentation, odd and variable frame rates included.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Matroska and WebM store milliseconds: a frame may lie half of one off its true time.
_TIMESTAMP_ROUNDING_S = 0.0006


@dataclass(frozen=True)
class Segment:
    """A slice [start_s, end_s) of a video's time, in seconds from the first frame.

    The last segment has no end: frames after the nominal duration (headers round it) are its frames too.
    """

    index: int
    start_s: float
    end_s: float
    last: bool = False

    def contains(self, time_s: float) -> bool:
        """Whether the frame at this time is this segment's."""
        return self.start_s <= time_s and not self.ends_before(time_s)

    def ends_before(self, time_s: float) -> bool:
        """Whether no frame at or after this time is this segment's."""
        return time_s >= self.end_s and not self.last

    def widened(self, margin_s: float) -> "Segment":
        """The same segment with `margin_s` seconds of context on both sides."""
        return Segment(self.index, max(0.0, self.start_s - margin_s), self.end_s + margin_s, self.last)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"index": self.index, "start_s": self.start_s, "end_s": self.end_s, "last": self.last}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Segment":
        """The inverse of `to_dict`."""
        return cls(int(data["index"]), float(data["start_s"]), float(data["end_s"]), bool(data["last"]))


class Sampling(Protocol):
    """Chooses frames."""

    def selects(self, time_s: float, next_time_s: float) -> bool:
        """Whether the frame shown during [time_s, next_time_s) is wanted."""
        ...


@dataclass(frozen=True)
class EveryFrame:
    """All frames."""

    def selects(self, time_s: float, next_time_s: float) -> bool:
        """Always true."""
        return True


@dataclass(frozen=True)
class FramesPerSecond:
    """The frames on screen at 0, 1/fps, 2/fps, ... seconds; each once, so never more than the video has."""

    fps: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be a positive number, not {self.fps}")

    def selects(self, time_s: float, next_time_s: float) -> bool:
        """Whether a grid time k/fps falls within [time_s, next_time_s)."""
        return self._targets_before(next_time_s) > self._targets_before(time_s)

    def _targets_before(self, time_s: float) -> int:
        # One monotonic count for both ends: neighbours agree on who owns a grid time, round-off or not.
        return math.ceil((time_s - _TIMESTAMP_ROUNDING_S) * self.fps)


def plan_segments(duration_s: float, target_s: float = 60.0) -> tuple[Segment, ...]:
    """Cut [0, duration_s) into equal segments of about `target_s` (between 2/3 and 4/3 of it, or one alone).

    Raises ValueError unless both are positive and finite.
    """
    if not (math.isfinite(duration_s) and duration_s > 0 and math.isfinite(target_s) and target_s > 0):
        raise ValueError(f"cannot cut {duration_s} s into segments of {target_s} s")
    count = max(1, round(duration_s / target_s))
    borders = [duration_s * i / count for i in range(count)] + [duration_s]
    return tuple(Segment(i, borders[i], borders[i + 1], last=i == count - 1) for i in range(count))


def shots_from_cuts(cuts_s: Sequence[float], duration_s: float) -> list[tuple[float, float]]:
    """The shots (start_s, end_s) between cuts (the times at which a new shot starts), covering [0, duration_s)."""
    inside = sorted({cut for cut in cuts_s if 0.0 < cut < duration_s})
    borders = [0.0, *inside, duration_s]
    return list(itertools.pairwise(borders))
