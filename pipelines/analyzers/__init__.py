"""Analyzers: models that turn a segment's frames, or its sound, into a table.

A new analyzer is one new file and one line in ANALYZERS. Users add theirs from outside: by the entry point group
"aima.analyzers", or as "module:Class" (brightness.py shows how). Listing, describing and checking imports no model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Literal, Protocol, cast

from pipelines.analyzers.options import Option, checked
from pipelines.errors import MissingPackage, UnknownAnalyzer
from pipelines.frames import FrameBatch
from pipelines.samples import Samples
from pipelines.sampling import Sampling, Segment

Lane = Literal["gpu", "cpu"]

_GROUP = "aima.analyzers"
# The class of each name.
ANALYZERS: dict[str, str] = {
    "labels": "pipelines.analyzers.labels:Labels",
    "scenes": "pipelines.analyzers.scenes:Scenes",
    "objects": "pipelines.analyzers.objects:Objects",
    "embeddings": "pipelines.analyzers.embeddings:Embeddings",
    "text": "pipelines.analyzers.text:Text",
    "safety": "pipelines.analyzers.safety:Safety",
    "speech": "pipelines.analyzers.speech:Speech",
    "transcript": "pipelines.analyzers.transcript:Transcript",
    "brightness": "pipelines.analyzers.brightness:Brightness",
}


@dataclass(frozen=True)
class Description:
    """What is known of an analyzer before its model is loaded.

    `lane`: which machines run it: "gpu" where a GPU makes it faster, else "cpu".
    `cost_hint`: about how many CPU-core seconds a second of media takes with default options, decoding not counted.
    `stills`: whether a single picture is enough for it.
    `packages`: the modules it imports; they come with the extra `extra`.
    """

    summary: str
    takes: Literal["frames", "audio"]
    lane: Lane
    cost_hint: float
    options: Mapping[str, Option] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    extra: str = "worker"
    stills: bool = True


class SegmentRun(Protocol):
    """One segment passing through an analyzer: all state that must not outlive the segment."""

    frames: int  # how many frames of the segment itself (context not counted) the model was given

    def add(self, batch: FrameBatch) -> None:
        """Take the next frames, in presentation order."""
        ...

    def finish(self) -> Any:
        """A pyarrow Table with the analyzer's schema: the segment's records. After damage: of the frames so far."""
        ...


class Analyzer(Protocol):
    """A model and what it needs. `start` may be called for many segments, from many threads, once loaded.

    Made by its class, called with checked options by keyword.
    """

    name: str
    description: Description
    version: str  # changes whenever results may: goes into the schema's metadata
    sampling: Sampling
    context_s: float  # seconds of frames it wants from before and after the segment

    @property
    def schema(self) -> Any:
        """The pyarrow schema of its records; units and versions are in its metadata."""
        ...

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) in which it wants the frames of a video of this displayed height and width."""
        ...

    def load(self, device: str) -> None:
        """Put the model on "cpu" or "cuda". Once, before any `start`."""
        ...

    def start(self, segment: Segment) -> SegmentRun:
        """Begin a segment."""
        ...


class AudioAnalyzer(Protocol):
    """A model that takes sound. `analyse` may be called from many threads, once loaded."""

    name: str
    description: Description
    version: str

    @property
    def schema(self) -> Any:
        """See Analyzer.schema."""
        ...

    def load(self, device: str) -> None:
        """See Analyzer.load."""
        ...

    def analyse(self, samples: Samples, segment: Segment) -> Any:
        """A pyarrow Table with the analyzer's schema: the records of one segment's sound, cut where nobody speaks."""
        ...


def analyzer_names() -> tuple[str, ...]:
    """All names: ours, and those of installed packages."""
    return tuple(_known())


def default_analyzers() -> tuple[str, ...]:
    """The selection when none is named."""
    return ("labels", "scenes")


def check_analyzers(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repeats, in order; "module:Class" is taken as it is. Raises UnknownAnalyzer."""
    checked_names = tuple(dict.fromkeys(names))
    for name in checked_names:
        if ":" not in name and name not in _known():
            raise UnknownAnalyzer(name, _known())
    return checked_names


def describe(name: str) -> Description:
    """What is known of an analyzer. Raises UnknownAnalyzer."""
    return cast(Description, _class_of(name).description)


def lane_of(name: str) -> Lane:
    """Which machines run this analyzer. Raises UnknownAnalyzer."""
    return describe(name).lane


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, as the analyzer takes them. Raises UnknownAnalyzer; InvalidOption, which names what is allowed."""
    return checked(name, describe(name).options, options)


def load_analyzer(name: str, **options: Any) -> Analyzer | AudioAnalyzer:
    """Create an analyzer (its model is loaded by `load`). Raises UnknownAnalyzer, InvalidOption, MissingPackage."""
    values = check_options(name, options)
    description = describe(name)
    for package in description.packages:
        if find_spec(package) is None:
            raise MissingPackage(name, package, description.extra)
    return cast(Analyzer | AudioAnalyzer, _class_of(name)(**values))


@cache
def _known() -> dict[str, str]:
    theirs = {point.name: point.value for point in entry_points(group=_GROUP)}
    return theirs | ANALYZERS  # nobody replaces ours by accident


@cache
def _class_of(name: str) -> Any:
    """The class behind a name. Raises UnknownAnalyzer, also where "module:Class" leads nowhere."""
    check_analyzers([name])
    module, _, attribute = _known().get(name, name).partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnknownAnalyzer(name, _known(), str(error)) from error
