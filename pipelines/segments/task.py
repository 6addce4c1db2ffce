"""What a segment's analysis is given, and what it reports: values that travel as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.media.sampling import Segment
from pipelines.media.sources import MediaInfo


@dataclass(frozen=True)
class SegmentTask:
    """A unit of work: one slice of one media item, by these analyzers, to `{output_uri}/{analyzer}/part-*.parquet`.

    `options` gives an analyzer's options by its name, e.g. {"labels": {"fps": 1}}, over those of the SegmentAnalyzer.
    `sampling` (see `parse_sampling`) replaces that of all analyzers that look at samples; `decoder` the choice of one.
    `put_urls`, by analyzer, are presigned URLs of just these parts: who has none writes with credentials of its own.
    """

    media_uri: str
    segment: Segment
    info: MediaInfo
    analyzers: tuple[str, ...]
    output_uri: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sampling: str = ""
    decoder: str = ""
    put_urls: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def media_s(self) -> float:
        """Its length in seconds."""
        return self.segment.end_s - self.segment.start_s

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self) | {"analyzers": list(self.analyzers), "info": self.info.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SegmentTask":
        """The inverse of `to_dict`."""
        return cls(
            media_uri=data["media_uri"],
            segment=Segment.from_dict(data["segment"]),
            info=MediaInfo.from_dict(data["info"]),
            analyzers=tuple(data["analyzers"]),
            output_uri=data["output_uri"],
            options=data.get("options") or {},
            sampling=data.get("sampling") or "",
            decoder=data.get("decoder") or "",
            put_urls=data.get("put_urls") or {},
        )


@dataclass(frozen=True)
class SegmentReport:
    """What was done. `frames` is the most frames of the segment that any analyzer saw; `seconds` is wall-clock time."""

    segment_index: int
    frames: int
    frames_by_analyzer: dict[str, int]
    parts: dict[str, str]
    seconds: float
    decoder: str
    decoder_reason: str = ""
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self) | {"warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SegmentReport":
        """The inverse of `to_dict`."""
        return cls(**(data | {"warnings": tuple(data["warnings"])}))
