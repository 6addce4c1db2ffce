"""Analyzers: models that turn a segment's frames into a table.

A new analyzer is one new file and one line in ANALYZERS. Listing and checking names imports no model.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Protocol, cast

from pipelines.errors import UnknownAnalyzer
from pipelines.frames import FrameBatch
from pipelines.sampling import Sampling, Segment

# The module of each name; it has a function `create(**options) -> Analyzer`.
ANALYZERS: dict[str, str] = {
    "labels": "pipelines.analyzers.labels",
    "scenes": "pipelines.analyzers.scenes",
}


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
    """A model and what it needs. `start` may be called for many segments, from many threads, once loaded."""

    name: str
    version: str  # changes whenever results may: goes into the schema's metadata
    sampling: Sampling
    size: tuple[int, int]  # the (height, width) it wants
    context_s: float  # seconds of frames it wants from before and after the segment

    @property
    def schema(self) -> Any:
        """The pyarrow schema of its records; units and versions are in its metadata."""
        ...

    def load(self, device: str) -> None:
        """Put the model on "cpu" or "cuda". Once, before any `start`."""
        ...

    def start(self, segment: Segment) -> SegmentRun:
        """Begin a segment."""
        ...


def analyzer_names() -> tuple[str, ...]:
    """All names, the default selection too."""
    return tuple(ANALYZERS)


def check_analyzers(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repeats, in order. Raises UnknownAnalyzer."""
    checked = tuple(dict.fromkeys(names))
    for name in checked:
        if name not in ANALYZERS:
            raise UnknownAnalyzer(name, ANALYZERS)
    return checked


def load_analyzer(name: str, **options: Any) -> Analyzer:
    """Create an analyzer (its model is loaded by `load`). Raises UnknownAnalyzer; TypeError for unknown options."""
    check_analyzers([name])
    return cast(Analyzer, import_module(ANALYZERS[name]).create(**options))
