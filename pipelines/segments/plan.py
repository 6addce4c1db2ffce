"""The first step of a segment: which analyzers have work to do, and what their parts will say of their origin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pipelines.analyzers.contract import Analyzer, AudioAnalyzer
from pipelines.analyzers.registry import check_analyzers
from pipelines.records.provenance import PartOrigin
from pipelines.records.sinks import finished_part
from pipelines.segments.applicability import applicable
from pipelines.segments.task import SegmentTask


class Models(Protocol):
    """Where a plan gets its analyzers from."""

    def analyzer(self, name: str, options: Mapping[str, Any] | None = None) -> Analyzer | AudioAnalyzer:
        """The analyzer with its model loaded."""
        ...

    def described(self, name: str, options: Mapping[str, Any] | None = None) -> Analyzer | AudioAnalyzer:
        """The analyzer without its model: good for its name, version and schema."""
        ...

    def options(self, name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All options that apply."""
        ...


@dataclass(frozen=True)
class SegmentPlan:
    """What one segment needs. All mappings go by the analyzer's name.

    `frames` and `sound` are the analyzers with work to do. `idle` are those to which the media has nothing to offer:
    their parts are empty. `kept` are those whose part was finished before, with the number of frames they saw.
    """

    task: SegmentTask
    frames: tuple[Analyzer, ...]
    sound: tuple[AudioAnalyzer, ...]
    idle: Mapping[str, Analyzer | AudioAnalyzer]
    kept: Mapping[str, int]
    watched: tuple[str, ...]  # the analyzers of frames, kept or not
    origins: Mapping[str, PartOrigin]

    def directory(self, analyzer: str) -> str:
        """The folder, or prefix, of an analyzer's parts."""
        return part_directory(self.task, analyzer)


def plan_segment(task: SegmentTask, models: Models, resume: bool) -> SegmentPlan:
    """Decide what is to be done for `task`, and load the models for it.

    With `resume`, parts that were finished for this very task are kept. Raises UnknownAnalyzer, InvalidOption,
    MissingPackage; MediaError where an analyzer can do nothing with the media (see `applicable`).
    """
    names = check_analyzers(task.analyzers)
    fits, misfit = applicable(task.info, names)
    if misfit:
        raise misfit
    chosen = {name: models.analyzer(name, task.options.get(name)) for name in fits}
    idle = {name: models.described(name, task.options.get(name)) for name in names if name not in fits}
    origins = {a.name: _origin(task, models, name, a) for name, a in (chosen | idle).items()}
    kept = _kept(task, origins) if resume else {}
    todo = [a for a in chosen.values() if a.name not in kept]
    return SegmentPlan(
        task=task,
        frames=tuple(cast(Analyzer, a) for a in todo if a.description.takes == "frames"),
        sound=tuple(cast(AudioAnalyzer, a) for a in todo if a.description.takes == "audio"),
        idle={a.name: a for a in idle.values()},
        kept=kept,
        watched=tuple(a.name for a in chosen.values() if a.description.takes == "frames"),
        origins=origins,
    )


def part_directory(task: SegmentTask, analyzer: str) -> str:
    """The folder, or prefix, of an analyzer's parts."""
    return f"{task.output_uri.rstrip('/')}/{analyzer}"


def _origin(task: SegmentTask, models: Models, name: str, analyzer: Analyzer | AudioAnalyzer) -> PartOrigin:
    options = models.options(name, task.options.get(name))
    return PartOrigin(task.media_uri, task.segment, analyzer.name, analyzer.version, options, task.sampling)


def _kept(task: SegmentTask, origins: Mapping[str, PartOrigin]) -> dict[str, int]:
    """The analyzers whose part is finished already, and how many frames they saw."""
    found = {
        name: finished_part(part_directory(task, name), task.segment.index, origin.digest)
        for name, origin in origins.items()
    }
    return {name: int(metadata.get("frames", 0)) for name, metadata in found.items() if metadata is not None}
