"""One segment's sound, cut where nobody speaks, so that each word comes once, and whole; and `python -m
pipelines.audio`, a batch job."""

import math
from collections.abc import Callable

from pipelines.errors import MediaError
from pipelines.media.decoders.audio import read_samples
from pipelines.media.sampling import Segment
from pipelines.media.sound import Samples, cut_near
from pipelines.models.voice_activity import speech_ranges

_WINDOW_S = 3.0  # how far a border may move


Read = Callable[[str, float, float], tuple[Samples, MediaError | None]]


def segment_samples(uri: str, segment: Segment, read: Read = read_samples) -> tuple[Samples, MediaError | None]:
    """The sound of a segment whose borders were moved into pauses, and the damage that ended it early, if any.

    Both neighbours of a border hear the same seconds around it, so both move it to the same pause: nothing is heard
    twice, nothing missed. Segments shorter than 6 s keep their borders. `read` reads sound, in a process of its own for
    instance. Raises MediaError where there is no sound.
    """
    moves = segment.end_s - segment.start_s >= 2 * _WINDOW_S
    around = segment.widened(_WINDOW_S)
    samples, damage = read(uri, around.start_s, math.inf if segment.last else around.end_s)
    start_s = _moved(segment.start_s, samples) if moves and segment.start_s > 0 else segment.start_s
    end_s = math.inf if segment.last else segment.end_s
    end_s = _moved(end_s, samples) if moves and not segment.last else end_s
    return samples.between(start_s, end_s), damage


def _moved(border_s: float, samples: Samples) -> float:
    window = samples.between(border_s - _WINDOW_S, border_s + _WINDOW_S)
    return cut_near(border_s, (window.start_s, window.end_s), speech_ranges(window))
