"""One segment through all its analyzers, step by step: plan, read and analyse, write, report.

plan.py decides what is to be done; segment_frames.py and segment_sound.py decode and analyse; segment_parts.py writes
one part for each analyzer and reports.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.analyzers.contract import Analyzer, AudioAnalyzer
from pipelines.analyzers.registry import check_analyzers, load_analyzer
from pipelines.media.isolation import DecodeProcesses
from pipelines.models.devices import AT_WORK, pick_device
from pipelines.segments.plan import plan_segment
from pipelines.segments.segment_frames import analyse_frames
from pipelines.segments.segment_parts import report_of, write_parts
from pipelines.segments.segment_sound import analyse_sound
from pipelines.segments.task import SegmentReport, SegmentTask

_LOADED_AT_MOST = 16


def _ignore() -> None:
    """The default of the callbacks."""


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
        given = self.options(name, options)
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
        on_first_frame: Callable[[], None] = _ignore,
        on_last_frame: Callable[[], None] = _ignore,
        resume: bool = False,
    ) -> SegmentReport:
        """Analyse one segment and write its parts. Running it again overwrites them with the same.

        With `resume`, parts that were finished for this very task are kept, and their analyzers left out.
        `on_first_frame` is called when the first frames reach a model. `on_last_frame` is called when only writing is
        left: cores and models are free for another segment. Raises UnknownAnalyzer; MediaError where the file is
        damaged within the segment (the parts of the frames before the damage are written first), and for analyzers
        that can do nothing with the media (see `applicable`). Analyzers that merely find nothing get an empty part.
        """
        started = time.perf_counter()
        plan = plan_segment(task, self, resume)
        with AT_WORK:
            seen = analyse_frames(plan, self.decoding, on_first_frame, self._nvdec)
            heard = analyse_sound(plan, self.decoding.sound, _ignore if plan.frames else on_first_frame)
        on_last_frame()
        write_parts(plan, seen, heard)
        return report_of(plan, seen, heard, time.perf_counter() - started)

    def described(self, name: str, options: Mapping[str, Any] | None = None) -> Analyzer | AudioAnalyzer:
        """An analyzer of this name without its model: good for its name, version and schema."""
        return load_analyzer(name, **self.options(name, options))

    def options(self, name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The general options of an analyzer, with these over them."""
        return {**self._options.get(name, {}), **(options or {})}
