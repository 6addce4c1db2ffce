"""The common base of analyzers whose records are about single frames: a subclass gives columns, a model and rows."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.records import described, frame_columns
from pipelines.errors import AnalyzerFault
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import FramesPerSecond, Segment
from pipelines.models.batching import SharedModel, frames_at_first

Rows = Sequence[Mapping[str, Any]]


class PerFrameAnalyzer:
    """See Analyzer. A subclass sets the class attributes and `version`, and writes `analyse` and what else it needs."""

    name: ClassVar[str]
    description: ClassVar[Description]
    columns: ClassVar[Sequence[tuple[str, pa.DataType]]]  # beside those that say which frame
    units: ClassVar[Mapping[str, str]] = {}  # of each column that needs one
    version: str
    context_s = 0.0
    together = True  # see SharedModel; `prepare` may know better

    def __init__(self, fps: float) -> None:
        self.sampling = FramesPerSecond(fps)
        self._loading = threading.Lock()
        self._loaded = False
        self.shared = SharedModel(self.analyse, name=self.name)

    @property
    def schema(self) -> pa.Schema:
        """See Analyzer.schema."""
        return described(self, [*frame_columns(), *self.columns], **self.units)

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size. By default the size of the video itself."""
        return height, width

    def load(self, device: str) -> None:
        """See Analyzer.load."""
        with self._loading:
            if not self._loaded:
                self.prepare(device)
                self.shared.limit, self.shared.together = frames_at_first(device), self.together
                self._loaded = True

    def start(self, segment: Segment) -> "PerFrameRun":
        """See Analyzer.start."""
        if not self._loaded:
            raise RuntimeError("call load(device) first")
        return PerFrameRun(self, segment)

    def prepare(self, device: str) -> None:
        """Load the model. Called once."""

    def analyse(self, pixels: NDArray[np.uint8]) -> Sequence[Rows]:
        """uint8 (N, H, W, 3) RGB -> for each frame the values of `columns`, a row each. From many threads."""
        raise NotImplementedError


class PerFrameRun:
    """See SegmentRun."""

    def __init__(self, analyzer: PerFrameAnalyzer, segment: Segment) -> None:
        self.frames = 0
        self._analyzer = analyzer
        self._segment = segment
        self._rows: list[dict[str, Any]] = []

    def add(self, batch: FrameBatch) -> None:
        """See SegmentRun.add."""
        found = self._analyzer.shared(batch.pixels)  # with frames of other segments, if they wait too
        self.frames += len(batch)
        for index, time_s, rows in zip(batch.indices.tolist(), batch.times_s.tolist(), found, strict=True):
            frame = {"segment": self._segment.index, "frame_index": index, "time_s": time_s}
            self._rows += [frame | dict(self._checked(row)) for row in rows]

    def finish(self) -> pa.Table:
        """See SegmentRun.finish."""
        try:
            return pa.Table.from_pylist(self._rows, schema=self._analyzer.schema)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise AnalyzerFault(self._analyzer.name, f"its rows do not fit its columns: {error}") from error

    def _checked(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        columns = dict(self._analyzer.columns)
        if unknown := [key for key in row if key not in columns]:
            fault = f"a row has {', '.join(map(repr, unknown))}; its columns are {', '.join(columns)}"
            raise AnalyzerFault(self._analyzer.name, fault)
        return row


def fitted(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) scaled down, not up, so that no side is longer; even, and at least 2."""
    scale = min(1.0, longest / max(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)
