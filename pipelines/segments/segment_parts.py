"""The last steps of a segment: its parts are written, and what was done is reported."""

from collections.abc import Mapping
from typing import Any

from pipelines.analyzers.contract import Analyzer, AudioAnalyzer
from pipelines.errors import AnalyzerFault, MediaError
from pipelines.media.sampling import Segment
from pipelines.records.sinks import part_name, write_part
from pipelines.segments.applicability import warnings_of
from pipelines.segments.plan import SegmentPlan
from pipelines.segments.segment_frames import FramesSeen
from pipelines.segments.segment_sound import SoundHeard
from pipelines.segments.task import SegmentReport


def write_parts(plan: SegmentPlan, seen: FramesSeen, heard: SoundHeard) -> None:
    """Write the part of each analyzer with work to do, and empty parts for idle ones.

    Raises the MediaError of damage within the segment, after the parts of what came before it are written.
    """
    tables: Mapping[str, Any] = (
        seen.tables | {name: a.schema.empty_table() for name, a in plan.idle.items()} | heard.tables
    )
    task, frames = plan.task, {**plan.kept, **seen.frames}
    faults = [d for d in (seen.damage, heard.damage) if d and not _lies_beyond(d, task.segment)]
    analyzers: list[Analyzer | AudioAnalyzer] = [*plan.frames, *plan.sound]
    for analyzer in analyzers:
        _check_table(analyzer, tables[analyzer.name])
    for name, table in tables.items():
        metadata = plan.origins[name].metadata(frames.get(name, 0), seen.decoder, finished=not faults)
        write_part(table, plan.directory(name), task.segment.index, metadata, task.put_urls.get(name, ""))
    if faults:
        raise faults[0]


def _check_table(analyzer: Analyzer | AudioAnalyzer, table: Any) -> None:
    schema = getattr(table, "schema", None)
    if schema is None or not schema.equals(analyzer.schema):
        got = type(table).__name__ if schema is None else f"columns {', '.join(schema.names)}"
        raise AnalyzerFault(analyzer.name, f"it gave {got}; a table with its own schema is needed")


def report_of(plan: SegmentPlan, seen: FramesSeen, heard: SoundHeard, seconds: float) -> SegmentReport:
    """What was done in `seconds` of wall-clock time."""
    task, frames = plan.task, {**plan.kept, **seen.frames}
    watched = {name: frames[name] for name in plan.watched}
    nothing = dict.fromkeys(plan.idle, "nothing to be found in a picture")
    nothing |= {} if task.info.has_audio else {a.name: "the file has no sound" for a in plan.sound}
    return SegmentReport(
        segment_index=task.segment.index,
        frames=max(watched.values(), default=0),
        frames_by_analyzer=watched,
        parts={name: f"{plan.directory(name)}/{part_name(task.segment.index)}" for name in plan.origins},
        seconds=seconds,
        decoder=seen.decoder,
        decoder_reason=seen.reason,
        warnings=warnings_of(watched, (seen.damage, heard.damage), nothing, seen.notes),
    )


def _lies_beyond(damage: MediaError, segment: Segment) -> bool:
    """Whether only context was lost: the segment itself is whole."""
    return damage.time_s is not None and segment.ends_before(damage.time_s)
