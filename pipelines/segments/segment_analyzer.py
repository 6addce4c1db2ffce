"""One segment of a video, of sound, or a picture, through all its analyzers; and `python -m pipelines.video`, a job.

Decoding runs in a process beside the models, a few batches ahead: frames are mapped, never sent (see
pipelines.media.isolation). Each analyzer gets its own part.
"""

import contextlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, cast

from pipelines.analyzers.contract import Analyzer, AudioAnalyzer, SegmentRun
from pipelines.analyzers.registry import check_analyzers, load_analyzer
from pipelines.errors import MediaError, file_name
from pipelines.media.decoders.contract import FrameRequest, batch_frames, choose_decoder
from pipelines.media.frames import FrameBatch
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import Segment, replaced
from pipelines.models.devices import AT_WORK, pick_device
from pipelines.records.provenance import Making
from pipelines.records.sinks import finished_part, part_name, write_part
from pipelines.segments.applicability import fitting, warnings_of
from pipelines.segments.still_images import watch_pictures
from pipelines.segments.task import SegmentReport, SegmentTask

_LOADED_AT_MOST = 16
_log = logging.getLogger(__name__)


def _ignored() -> None:
    """Nobody wants to know."""


class SegmentAnalyzer:
    """Runs segments. Models are loaded once, when first needed, and stay; `run` may be called from several threads.

    `analyzers` are loaded at once (none by default: each when a task first names it); `device` is "cpu" or "cuda", by
    default whichever is there; `options` gives an analyzer's options by its name, e.g. {"labels": {"fps": 1}};
    `hardware_decoding` lets a GPU's own decoder take what it is right for (see choose_decoder).
    """

    def __init__(
        self,
        analyzers: Sequence[str] | None = None,
        device: str | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        hardware_decoding: bool = False,
    ) -> None:
        names = check_analyzers(analyzers or ())
        self.decoding = DecodeProcesses()
        self.decoding.warm_up(1)  # while torch is imported to look for a device
        self.device = device or pick_device()
        self._options = dict(options or {})
        self._loaded: OrderedDict[tuple[str, str], Analyzer | AudioAnalyzer] = OrderedDict()
        self._loading = threading.Lock()
        self._nvdec = self.decoding.nvdec_objection if hardware_decoding and self.device == "cuda" else None
        for name in names:
            self.analyzer(name)

    def analyzer(self, name: str, options: Mapping[str, Any] | None = None) -> Analyzer | AudioAnalyzer:
        """The loaded analyzer of this name, with these options over the general ones.

        The last few stay loaded, one for each set of options. Raises UnknownAnalyzer, InvalidOption, MissingPackage.
        """
        given = self._given(name, options)
        key = (name, json.dumps(given, sort_keys=True))
        with self._loading:
            if key not in self._loaded:
                analyzer = load_analyzer(name, **given)
                analyzer.load(self.device)
                self._loaded[key] = analyzer
            self._loaded.move_to_end(key)
            while len(self._loaded) > _LOADED_AT_MOST:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def run(
        self,
        task: SegmentTask,
        on_first_frame: Callable[[], None] = _ignored,
        on_last_frame: Callable[[], None] = _ignored,
        resume: bool = False,
    ) -> SegmentReport:
        """Analyse one segment and write its parts. Running it again overwrites them with the same.

        With `resume`, parts that were finished for this very task are kept, and their analyzers left out.
        `on_first_frame` is called when the first frames reach a model, `on_last_frame` when only writing is left, which
        is waiting: cores and models are free for another segment. Raises UnknownAnalyzer; MediaError
        where the file is damaged within the segment, after writing the parts of the frames before the damage, and for
        analyzers that can do nothing with the media (see `fitting`); those that merely find nothing get an empty part.
        """
        started = time.perf_counter()
        fits, misfit = fitting(task.info, names := check_analyzers(task.analyzers))
        if misfit:
            raise misfit
        chosen = {name: self.analyzer(name, task.options.get(name)) for name in fits}
        # Not loaded: these are asked for their schema only.
        idle = {n: load_analyzer(n, **self._given(n, task.options.get(n))) for n in names if n not in fits}
        makings = {a.name: self._making(task, name, a) for name, a in (chosen | idle).items()}
        kept = _kept(task, makings) if resume else {}
        todo = [a for a in chosen.values() if a.name not in kept]
        watching = [cast(Analyzer, a) for a in todo if a.description.takes == "frames"]
        hearing = [cast(AudioAnalyzer, a) for a in todo if a.description.takes == "audio"]
        notes: list[str] = []
        with AT_WORK:
            decoder, reason, runs, damage = self._watch(task, watching, on_first_frame, notes)
            tables = {a.name: run.finish() for a, run in zip(watching, runs, strict=True)}
            on_first_sound = _ignored if watching else on_first_frame
            heard, sound_damage = _hear(task, hearing, self.decoding.sound, on_first_sound)
        on_last_frame()
        tables |= {a.name: a.schema.empty_table() for a in idle.values()}
        faults = [d for d in (damage, sound_damage) if d and not _lies_beyond(d, task.segment)]
        nothing = dict.fromkeys(idle, "nothing to be found in a picture")
        nothing |= {} if task.info.has_audio else {a.name: "the file has no sound" for a in hearing}
        frames = kept | {a.name: run.frames for a, run in zip(watching, runs, strict=True)}
        for name, table in (tables | heard).items():
            metadata = makings[name].metadata(frames.get(name, 0), decoder, finished=not faults)
            write_part(table, _directory(task, name), task.segment.index, metadata, task.put_urls.get(name, ""))
        if faults:
            raise faults[0]
        watched = {a.name: frames[a.name] for a in chosen.values() if a.description.takes == "frames"}
        return SegmentReport(
            segment_index=task.segment.index,
            frames=max(watched.values(), default=0),
            frames_by_analyzer=watched,
            parts={name: f"{_directory(task, name)}/{part_name(task.segment.index)}" for name in makings},
            seconds=time.perf_counter() - started,
            decoder=decoder,
            decoder_reason=reason,
            warnings=warnings_of(watched, (damage, sound_damage), nothing, notes),
        )

    def _given(self, name: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
        return {**self._options.get(name, {}), **(options or {})}

    def _making(self, task: SegmentTask, name: str, analyzer: Analyzer | AudioAnalyzer) -> Making:
        options = self._given(name, task.options.get(name))
        return Making(task.media_uri, task.segment, analyzer.name, analyzer.version, options, task.sampling)

    def _watch(
        self, task: SegmentTask, analyzers: Sequence[Analyzer], on_first_frame: Callable[[], None], notes: list[str]
    ) -> tuple[str, str, list[SegmentRun], MediaError | None]:
        """The decoder and why, the runs that saw the segment's frames, and the damage that ended the file, if any.

        Why the CPU took over from NVDEC is added to `notes`.
        """
        if not analyzers:
            return "", "", [], None
        if task.info.kind == "picture":
            return "pillow", "a picture", self._look(task, analyzers, on_first_frame), None
        requests = _requests(task, analyzers)
        decoder, reason = choose_decoder(task.info, [r.sampling for r in requests], task.decoder, self._nvdec)
        _log.info("%s, segment %d: %s: %s", file_name(task.media_uri), task.segment.index, decoder, reason)
        runs = [analyzer.start(task.segment) for analyzer in analyzers]
        batches = self.decoding.read(decoder, task.media_uri, requests, batch_frames(requests), notes.append)
        damage = _feed(task, batches, runs, on_first_frame)
        return f"{decoder}, then pyav" if notes else decoder, reason, runs, damage

    def _look(self, task: SegmentTask, analyzers: Sequence[Analyzer], on_look: Callable[[], None]) -> list[SegmentRun]:
        runs = [analyzer.start(task.segment) for analyzer in analyzers]
        on_look()
        if errors := watch_pictures([task.media_uri], analyzers, runs, self.decoding):
            raise errors[0]
        return runs


def _directory(task: SegmentTask, analyzer: str) -> str:
    return f"{task.output_uri.rstrip('/')}/{analyzer}"


def _kept(task: SegmentTask, makings: Mapping[str, Making]) -> dict[str, int]:
    """The analyzers whose part is finished already, and how many frames they saw."""
    found = {
        name: finished_part(_directory(task, name), task.segment.index, making.digest)
        for name, making in makings.items()
    }
    return {name: int(metadata.get("frames", 0)) for name, metadata in found.items() if metadata is not None}


def _lies_beyond(damage: MediaError, segment: Segment) -> bool:
    """Whether only context was lost: the segment itself is whole."""
    return damage.time_s is not None and segment.ends_before(damage.time_s)


def _hear(
    task: SegmentTask, analyzers: Sequence[AudioAnalyzer], read: Any, on_first_sound: Callable[[], None]
) -> tuple[dict[str, Any], MediaError | None]:
    """Each analyzer's records of the segment's sound (none where there is no sound), and the damage, if any."""
    if not analyzers:
        return {}, None
    if not task.info.has_audio:
        return {analyzer.name: analyzer.schema.empty_table() for analyzer in analyzers}, None
    from pipelines.segments.segment_sound import segment_samples  # noqa: PLC0415

    samples, damage = segment_samples(task.media_uri, task.segment, read)
    on_first_sound()
    return {analyzer.name: analyzer.analyse(samples, task.segment) for analyzer in analyzers}, damage


def _feed(
    task: SegmentTask,
    batches: Iterator[tuple[int, FrameBatch]],
    runs: Sequence[SegmentRun],
    on_first_frame: Callable[[], None],
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
