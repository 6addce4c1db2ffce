"""The second step of a segment, for sound: it is cut where nobody speaks, so that each word comes once, and whole."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.errors import MediaError
from pipelines.media.sampling import Segment
from pipelines.media.sound import Samples, cut_near
from pipelines.models.voice_activity import speech_ranges
from pipelines.segments.plan import SegmentPlan

_WINDOW_S = 3.0  # how far a border may move

Read = Callable[[str, float, float], tuple[Samples, MediaError | None]]


@dataclass(frozen=True)
class SoundHeard:
    """What came of a segment's sound: a table for each analyzer, and the error that ended the file, if any."""

    tables: dict[str, Any]
    damage: MediaError | None = None


def analyse_sound(plan: SegmentPlan, read: Read, on_first_sound: Callable[[], None]) -> SoundHeard:
    """Play the segment's sound to the plan's analyzers of sound. Without sound their tables are empty."""
    task = plan.task
    if not plan.sound:
        return SoundHeard({})
    if not task.info.has_audio:
        return SoundHeard({analyzer.name: analyzer.schema.empty_table() for analyzer in plan.sound})
    samples, damage = segment_samples(task.media_uri, task.segment, read)
    on_first_sound()
    return SoundHeard({analyzer.name: analyzer.analyse(samples, task.segment) for analyzer in plan.sound}, damage)


def segment_samples(uri: str, segment: Segment, read: Read) -> tuple[Samples, MediaError | None]:
    """The sound of a segment whose borders were moved into pauses, and the damage that ended it early, if any.

    Both neighbours of a border hear the same seconds around it, so both move it to the same pause: nothing is heard
    twice, nothing missed. Segments shorter than 6 s keep their borders. `read` reads sound, for instance in
    a process of its own. Raises MediaError where there is no sound.
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
