"""Text in the picture: PP-OCR (detection and recognition, Latin script and Chinese) by RapidOCR on ONNX Runtime."""

import threading
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number
from pipelines.analyzers.per_frame import PerFrameAnalyzer, Rows, fitted
from pipelines.models.onnx_session import threads_per_model
from pipelines.records.insights import InsightRule


class Text(PerFrameAnalyzer):
    """Lines of text in sampled frames, where they stand and how sure the reader is. Upright text only."""

    name = "text"
    description = Description(
        summary="text in the picture (OCR)",
        takes="frames",
        lane="cpu",
        cost_hint=0.4,
        options={
            "fps": Number(1.0, 0, 120, above=True),
            "min_score": Number(0.5, 0, 1),
            "longest_side": Number(960, 160, 4096, whole=True),
        },
        packages=("rapidocr", "onnxruntime"),
        extra="text",
        insight=InsightRule("text", "sightings", name="text", score="score"),
    )
    columns = (
        ("text", pa.string()),
        ("score", pa.float32()),
        *((side, pa.float32()) for side in ("left", "top", "right", "bottom")),
    )
    units = {  # noqa: RUF012
        "score": "the recogniser's mean over the characters, 0 to 1",
        **dict.fromkeys(("left", "right"), "fraction of the picture's width, from the left"),
        **dict.fromkeys(("top", "bottom"), "fraction of the picture's height, from the top"),
    }

    def __init__(self, fps: float = 1.0, min_score: float = 0.5, longest_side: int = 960) -> None:
        super().__init__(fps)
        self.version = f"1:pp-ocrv6-small:{min_score:g}:{longest_side}"
        self._min_score = min_score
        self._longest_side = longest_side
        self._reader: Any = None
        self._reading = threading.Lock()  # RapidOCR keeps state between its steps

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size."""
        return fitted(height, width, self._longest_side)

    def prepare(self, device: str) -> None:
        """See PerFrameAnalyzer.prepare."""
        from rapidocr import RapidOCR  # noqa: PLC0415

        self._reader = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.text_score": self._min_score,
                "Global.use_cls": False,  # it only tells whether a line is upside down
                "Det.limit_type": "max",
                "Det.limit_side_len": self._longest_side,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads_per_model(),
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def analyse(self, pixels: NDArray[np.uint8]) -> list[Rows]:
        """See PerFrameAnalyzer.analyse."""
        return [self._read(picture) for picture in pixels]

    def _read(self, picture: NDArray[np.uint8]) -> Rows:
        with self._reading:
            found = self._reader(np.ascontiguousarray(picture[..., ::-1]))  # BGR
        if found.txts is None:
            return []
        height, width = picture.shape[:2]
        return [
            {"text": text, "score": score} | _bounds(box, height, width)
            for text, score, box in zip(found.txts, found.scores, found.boxes, strict=True)
        ]


def _bounds(corners: NDArray[np.floating[Any]], height: int, width: int) -> dict[str, float]:
    """The upright rectangle around four corners, (4, 2) as x and y in pixels."""
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return {"left": left / width, "top": top / height, "right": right / width, "bottom": bottom / height}
