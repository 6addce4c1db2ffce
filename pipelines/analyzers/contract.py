"""What an analyzer is: its description, and the methods through which segments pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipelines.analyzers.options import Option
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import Sampling, Segment
from pipelines.media.sound import Samples
from pipelines.records.insights import InsightRule

Lane = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class Description:
    """What is known of an analyzer before its model is loaded.

    `lane`: which machines run it: "gpu" where a GPU makes it faster, else "cpu".
    `cost_hint`: about how many CPU-core seconds a second of media takes with default options, decoding not counted.
    `stills`: whether a single picture is enough for it.
    `insight`: how its records read as insights (see InsightRule); without it, by their values.
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
    insight: InsightRule | None = None


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
