"""Things and where they are: boxes by a detector of torchvision, or by any YOLOX- or YOLOv8-like ONNX file."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Choice, ModelFile, Number, Word
from pipelines.analyzers.per_frame import PerFrameAnalyzer, Rows, fitted
from pipelines.errors import file_name
from pipelines.records.insights import InsightRule

_DEFAULT = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"
_SIDES = ("left", "top", "right", "bottom")


class Objects(PerFrameAnalyzer):
    """One row per thing found in a sampled frame. torchvision's detectors know the 80 (or 90) classes of COCO.

    No package carries their weights: torchvision fetches them when they are first used. An ONNX file comes from a path
    or s3://, with "#sha256=..." behind it if it is to be checked.
    """

    name = "objects"
    description = Description(
        summary="things, and where they are",
        takes="frames",
        lane="gpu",
        cost_hint=0.2,
        options={
            "fps": Number(1.0, 0, 120, above=True),
            "min_score": Number(0.5, 0, 1),
            "model": ModelFile(
                _DEFAULT,
                r"torchvision:[a-z0-9_]+|(?:s3://|[/~.]).+\.onnx(?:#sha256=[0-9a-fA-F]{64})?",
                "torchvision:<name> of a detector, or the path or s3:// address of an .onnx file",
            ),
            "layout": Choice("auto", ("auto", "yolox", "yolov8")),
            "labels": Word("", r"[^\x00-\x1f]*", "the names of an ONNX file's classes, in order, with commas between"),
        },
        packages=("torch", "torchvision"),
        insight=InsightRule("object", "sightings", name="label", score="score"),
    )
    columns = (
        ("label", pa.string()),
        ("score", pa.float32()),
        *((side, pa.float32()) for side in _SIDES),
    )
    units = {  # noqa: RUF012
        "score": "the detector's confidence, 0 to 1",
        **dict.fromkeys(("left", "right"), "fraction of the picture's width, from the left"),
        **dict.fromkeys(("top", "bottom"), "fraction of the picture's height, from the top"),
    }

    def __init__(
        self, fps: float = 1.0, min_score: float = 0.5, model: str = _DEFAULT, layout: str = "auto", labels: str = ""
    ) -> None:
        super().__init__(fps)
        self.version = f"1:{file_name(model)}:{min_score:g}"
        self._min_score, self._model, self._layout = min_score, model, layout
        self._labels = [label.strip() for label in labels.split(",") if label.strip()]
        self._detector: Any = None

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size. Known once the model is loaded."""
        return fitted(height, width, self._detector.side)

    def prepare(self, device: str) -> None:
        """See PerFrameAnalyzer.prepare."""
        from pipelines.models.detectors import load_detector  # noqa: PLC0415

        self._detector = load_detector(self._model, self._layout, self._labels, device)

    def analyse(self, pixels: NDArray[np.uint8]) -> list[Rows]:
        """See PerFrameAnalyzer.analyse."""
        return [self._rows(picture) for picture in pixels]

    def _rows(self, picture: NDArray[np.uint8]) -> Rows:
        boxes, scores, labels = self._detector.detect(picture, self._min_score)
        height, width = picture.shape[:2]
        fractions = (boxes / np.array([width, height, width, height], np.float32)).tolist()
        return [
            {"label": label, "score": score} | dict(zip(_SIDES, box, strict=True))
            for label, score, box in zip(labels, scores.tolist(), fractions, strict=True)
        ]
