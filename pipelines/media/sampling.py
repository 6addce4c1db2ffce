"""Time arithmetic: cutting a video into segments, and choosing its frames. Nothing here touches a file.

The rule that makes segments join: a frame belongs to the one segment that contains its own time, and whether it is
sampled depends on itself and the next frame's time only. So every sampled frame comes exactly once, whatever the
segmentation, odd and variable frame rates included.
"""

import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Matroska and WebM store milliseconds: a frame may lie half of one off its true time.
_TIMESTAMP_ROUNDING_S = 0.0006
SAMPLING_FORMS = "'2fps', 'every:10', 'all', 'keyframes', 'max:100', and ranges like '10s-20s', joined by commas"


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


@dataclass(frozen=True)
class ShownFrame:
    """A frame as sampling sees it: on screen during [time_s, next_time_s), the `index`-th of the stream, from 0."""

    time_s: float
    next_time_s: float
    index: int = 0
    is_keyframe: bool = False


class Sampling(Protocol):
    """Chooses frames."""

    def selects(self, frame: ShownFrame) -> bool:
        """Whether this frame is wanted."""
        ...


@dataclass(frozen=True)
class EveryFrame:
    """All frames."""

    def selects(self, frame: ShownFrame) -> bool:
        """Always true."""
        return True


@dataclass(frozen=True)
class FramesPerSecond:
    """The frames on screen at 0, 1/fps, 2/fps, ... seconds; each once, so never more than the video has."""

    fps: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be a positive number, not {self.fps}")

    def selects(self, frame: ShownFrame) -> bool:
        """Whether a grid time k/fps falls within the time that the frame is on screen."""
        return _grid_times_before(frame.next_time_s, self.fps) > _grid_times_before(frame.time_s, self.fps)


@dataclass(frozen=True)
class EveryNth:
    """The frames 0, n, 2n, ... of the stream."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"every n-th frame: n must be 1 or more, not {self.n}")

    def selects(self, frame: ShownFrame) -> bool:
        """Whether the frame's number is a multiple of n."""
        return frame.index % self.n == 0


@dataclass(frozen=True)
class Keyframes:
    """The frames that are stored whole: unevenly spaced, but an order of magnitude cheaper to decode."""

    def selects(self, frame: ShownFrame) -> bool:
        """Whether it is a keyframe."""
        return frame.is_keyframe


@dataclass(frozen=True)
class AtMost:
    """At most `count` frames, evenly spread over a video of `duration_s` seconds."""

    count: int
    duration_s: float

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"at most n frames: n must be 1 or more, not {self.count}")

    def selects(self, frame: ShownFrame) -> bool:
        """Whether one of the `count` grid times falls within the time that the frame is on screen."""
        return self._taken_before(frame.next_time_s) > self._taken_before(frame.time_s)

    def _taken_before(self, time_s: float) -> int:
        # A header may promise less than there is: the count holds all the same.
        return min(self.count, _grid_times_before(time_s, self.count / self.duration_s))


@dataclass(frozen=True)
class Within:
    """Another sampling's frames, but only those whose time lies in one of the ranges [start_s, end_s)."""

    sampling: Sampling
    ranges: tuple[tuple[float, float], ...]

    def selects(self, frame: ShownFrame) -> bool:
        """Whether the frame lies in a range and the sampling wants it."""
        inside = any(start_s <= frame.time_s < end_s for start_s, end_s in self.ranges)
        return inside and self.sampling.selects(frame)


def _grid_times_before(time_s: float, fps: float) -> int:
    # One monotonic count for both ends: neighbours agree on who owns a grid time, round-off or not.
    return math.ceil((time_s - _TIMESTAMP_ROUNDING_S) * fps)


_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_RANGE = re.compile(rf"{_NUMBER}s?-{_NUMBER}s")
_COUNT = re.compile(r"(every|max):(\d+)")
_RATE = re.compile(rf"{_NUMBER}fps")


def parse_sampling(text: str, duration_s: float) -> Sampling:
    """A sampling from its short form, for a video of `duration_s` seconds.

    '2fps', 'every:10', 'all', 'keyframes' or 'max:100', then ranges such as '10s-20s' that narrow it, all joined by
    commas; ranges alone mean every frame in them. Raises ValueError that says what is wrong.
    """
    parts = [part.strip() for part in text.split(",")]
    matches = [_RANGE.fullmatch(part) for part in parts]
    ranges = tuple((float(m[1]), float(m[2])) for m in matches if m)
    rules = [_parse_rule(part, duration_s) for part, m in zip(parts, matches, strict=True) if not m]
    if len(rules) > 1:
        raise ValueError(f"sampling {text!r} has two rules; give one, and ranges if you like: {SAMPLING_FORMS}")
    for start_s, end_s in ranges:
        if start_s >= end_s:
            raise ValueError(f"sampling range {start_s:g}s-{end_s:g}s is empty: its end must come after its start")
    sampling = rules[0] if rules else EveryFrame()
    return Within(sampling, ranges) if ranges else sampling


def check_sampling(text: str) -> str:
    """The text, if `parse_sampling` understands it for some video. Raises ValueError."""
    parse_sampling(text, duration_s=1.0)
    return text


def _parse_rule(text: str, duration_s: float) -> Sampling:
    if text in ("all", "keyframes"):
        return EveryFrame() if text == "all" else Keyframes()
    if rate := _RATE.fullmatch(text):
        return FramesPerSecond(float(rate[1]))
    if count := _COUNT.fullmatch(text):
        return EveryNth(int(count[2])) if count[1] == "every" else AtMost(int(count[2]), duration_s)
    raise ValueError(f"unknown sampling {text!r}; write {SAMPLING_FORMS}")


def plan_segments(duration_s: float, target_s: float = 60.0, cut_points_s: Sequence[float] = ()) -> tuple[Segment, ...]:
    """Cut [0, duration_s) into equal segments of about `target_s` (between 2/3 and 4/3 of it, or one alone).

    Borders move to the nearest of `cut_points_s` (sorted keyframe times, where decoding starts for free) within a
    sixth of a segment. Raises ValueError unless duration and target are positive and finite.
    """
    if not (math.isfinite(duration_s) and duration_s > 0 and math.isfinite(target_s) and target_s > 0):
        raise ValueError(f"cannot cut {duration_s} s into segments of {target_s} s")
    count = max(1, round(duration_s / target_s))
    step_s = duration_s / count
    inner = [_nearest(step_s * i, cut_points_s, step_s / 6) for i in range(1, count)]
    borders = [0.0, *inner, duration_s]
    return tuple(Segment(i, borders[i], borders[i + 1], last=i == count - 1) for i in range(count))


def _nearest(time_s: float, points_s: Sequence[float], within_s: float) -> float:
    at = bisect_left(points_s, time_s)
    best = min(points_s[max(0, at - 1) : at + 1], key=lambda point: abs(point - time_s), default=time_s)
    return best if abs(best - time_s) <= within_s else time_s


def segments_touched(segments: Sequence[Segment], sampling: Sampling) -> tuple[Segment, ...]:
    """The segments in which a sampling may want frames: all, unless it is narrowed to ranges."""
    if not isinstance(sampling, Within):
        return tuple(segments)
    return tuple(s for s in segments if any(a < s.end_s or s.last for a, b in sampling.ranges if s.start_s < b))


def shots_from_cuts(cuts_s: Sequence[float], duration_s: float) -> list[tuple[float, float]]:
    """The shots (start_s, end_s) between cuts (the times at which a new shot starts), covering [0, duration_s)."""
    inside = sorted({cut for cut in cuts_s if 0.0 < cut < duration_s})
    borders = [0.0, *inside, duration_s]
    return list(itertools.pairwise(borders))


def replaced(own: Sampling, text: str, duration_s: float) -> Sampling:
    """The sampling that `text` says (see `parse_sampling`), for who looks at samples.

    `own` where it says nothing, and for who needs every frame.
    """
    return own if not text or isinstance(own, EveryFrame) else parse_sampling(text, duration_s)
