"""When somebody speaks: voice activity by Silero VAD on ONNX Runtime."""

import pyarrow as pa

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number
from pipelines.analyzers.records import described, range_columns
from pipelines.media.sampling import Segment
from pipelines.media.sound import Samples
from pipelines.models.voice_activity import speech_ranges
from pipelines.records.insights import InsightRule


class Speech:
    """One row for each stretch of speech; singing counts in part, music and noise do not."""

    name = "speech"
    description = Description(
        summary="when somebody speaks",
        takes="audio",
        lane="cpu",
        cost_hint=0.005,
        options={"threshold": Number(0.5, 0.05, 0.95), "shortest_pause_s": Number(0.5, 0.1, 10)},
        packages=("faster_whisper", "onnxruntime"),
        extra="speech",
        insight=InsightRule("speech", "ranges"),
    )

    def __init__(self, threshold: float = 0.5, shortest_pause_s: float = 0.5) -> None:
        self.version = f"1:silero-vad-6:{threshold:g}:{shortest_pause_s:g}"
        self._threshold = threshold
        self._shortest_pause_s = shortest_pause_s

    @property
    def schema(self) -> pa.Schema:
        """One row per stretch of speech."""
        return described(self, range_columns())

    def load(self, device: str) -> None:
        """See AudioAnalyzer.load. The model is small: it is opened when it is used."""

    def analyse(self, samples: Samples, segment: Segment) -> pa.Table:
        """See AudioAnalyzer.analyse."""
        spans = speech_ranges(samples, self._threshold, self._shortest_pause_s)
        rows = [{"segment": segment.index, "start_s": start, "end_s": end} for start, end in spans]
        return pa.Table.from_pylist(rows, schema=self.schema)
