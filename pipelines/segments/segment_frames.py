"""The second step of a segment, for pictures: its frames are decoded beside the models and given to the analyzers.

Decoding runs in a process of its own, a few batches ahead: frames are mapped, never sent
(see pipelines.media.isolation).
"""

import contextlib
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pipelines.analyzers.contract import Analyzer, SegmentRun
from pipelines.errors import MediaError, file_name
from pipelines.media.decoders.contract import FrameRequest, batch_frames, choose_decoder
from pipelines.media.frames import FrameBatch
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import replaced
from pipelines.segments.plan import SegmentPlan
from pipelines.segments.still_images import watch_pictures
from pipelines.segments.task import SegmentTask

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FramesSeen:
    """What came of a segment's frames. Tables and counts go by the analyzer's name.

    `decoder` and `reason` say what decoded and why; `notes` say why the CPU took over from NVDEC; `damage` is the
    error that ended the file, if any.
    """

    tables: dict[str, Any]
    frames: dict[str, int]
    decoder: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    damage: MediaError | None = None


def analyse_frames(
    plan: SegmentPlan,
    decoding: DecodeProcesses,
    on_first_frame: Callable[[], None],
    nvdec_objection: Callable[[], str] | None,
) -> FramesSeen:
    """Show the segment's frames to the plan's analyzers of frames. `nvdec_objection`: see `choose_decoder`."""
    analyzers, task = plan.frames, plan.task
    if not analyzers:
        return FramesSeen({}, {})
    runs = [analyzer.start(task.segment) for analyzer in analyzers]
    if task.info.kind == "picture":
        on_first_frame()
        if errors := watch_pictures([task.media_uri], analyzers, runs, decoding):
            raise errors[0]
        return FramesSeen(*_finish(analyzers, runs), "pillow", "a picture")
    requests = _requests(task, analyzers)
    decoder, reason = choose_decoder(task.info, [r.sampling for r in requests], task.decoder, nvdec_objection)
    _log.info("%s, segment %d: %s: %s", file_name(task.media_uri), task.segment.index, decoder, reason)
    notes: list[str] = []
    batches = decoding.read(decoder, task.media_uri, requests, batch_frames(requests), notes.append)
    damage = _feed(batches, runs, on_first_frame)
    used = f"{decoder}, then pyav" if notes else decoder
    return FramesSeen(*_finish(analyzers, runs), used, reason, tuple(notes), damage)


def _finish(analyzers: Sequence[Analyzer], runs: Sequence[SegmentRun]) -> tuple[dict[str, Any], dict[str, int]]:
    pairs = list(zip(analyzers, runs, strict=True))
    return {a.name: run.finish() for a, run in pairs}, {a.name: run.frames for a, run in pairs}


def _feed(
    batches: Iterator[tuple[int, FrameBatch]], runs: Sequence[SegmentRun], on_first_frame: Callable[[], None]
) -> MediaError | None:
    """Give the runs their frames; the damage that ended the file, if any."""
    try:
        with contextlib.closing(cast(Generator[tuple[int, FrameBatch], None, None], batches)):
            for count, (number, batch) in enumerate(batches):
                if count == 0:
                    on_first_frame()
                runs[number].add(batch)
    except MediaError as damage:
        return damage
    return None


def _requests(task: SegmentTask, analyzers: Sequence[Analyzer]) -> list[FrameRequest]:
    requests = []
    for a in analyzers:
        sampling = replaced(a.sampling, task.sampling, task.info.duration_s)
        size = a.frame_size(task.info.height, task.info.width)
        requests.append(FrameRequest(task.segment.widened(a.context_s), sampling, size, task.info.origin_pts))
    return requests
