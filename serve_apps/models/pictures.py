"""A picture through the analyzers of a segment's task: one frame, no decoder of videos."""

import time
from collections.abc import Callable
from typing import cast

from pipelines.analyzers import Analyzer, AudioAnalyzer
from pipelines.images import analyse_image
from pipelines.sinks import write_part
from pipelines.video import SegmentAnalyzer, SegmentReport, SegmentTask


def analyse_picture(models: SegmentAnalyzer, task: SegmentTask, on_first_frame: Callable[[], None]) -> SegmentReport:
    """Analyse the task's picture and write its parts; analyzers of sound find nothing. Raises MediaError."""
    started = time.perf_counter()
    chosen = [models.analyzer(name, task.options.get(name)) for name in task.analyzers]
    watching = [cast(Analyzer, a) for a in chosen if a.description.takes == "frames"]
    hearing = [cast(AudioAnalyzer, a) for a in chosen if a.description.takes == "audio"]
    tables = analyse_image(task.media_uri, watching) if watching else {}
    on_first_frame()
    tables |= {a.name: a.schema.empty_table() for a in hearing}
    root = task.output_uri.rstrip("/")
    return SegmentReport(
        segment_index=task.segment.index,
        frames=1 if watching else 0,
        frames_by_analyzer={a.name: 1 for a in watching},
        parts={name: write_part(table, f"{root}/{name}", task.segment.index) for name, table in tables.items()},
        seconds=time.perf_counter() - started,
        decoder="pillow",
        decoder_reason="a picture",
    )
