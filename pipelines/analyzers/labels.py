"""What is to be seen: ImageNet labels of sampled frames, by EfficientNet-Lite0 or any classifier of torchvision."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number, Word
from pipelines.analyzers.per_frame import PerFrameAnalyzer, Rows
from pipelines.records.insights import InsightRule

_LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))


class Labels(PerFrameAnalyzer):
    """The `top_k` likeliest ImageNet classes of each sampled frame; scores are probabilities (softmax).

    Frames are squashed to a square, not cropped: in a wide picture, what is at the sides counts too.
    """

    name = "labels"
    description = Description(
        summary="ImageNet labels of sampled frames",
        takes="frames",
        lane="gpu",
        cost_hint=0.04,
        options={
            "fps": Number(2.0, 0, 120, above=True),
            "top_k": Number(5, 1, 1000, whole=True),
            "model": Word(
                "efficientnet-lite0",
                r"efficientnet-lite0|torchvision:[a-z0-9_]+",
                "efficientnet-lite0, or torchvision:<name> of a classifier",
            ),
        },
        packages=("torch", "torchvision", "onnxruntime", "onnx"),
        insight=InsightRule("label", "sightings", name="label", score="score", items="labels", least_score=0.2),
    )
    columns = (("labels", _LABELS),)
    units = {"score": "probability, 0 to 1"}  # noqa: RUF012

    def __init__(self, fps: float = 2.0, top_k: int = 5, model: str = "efficientnet-lite0") -> None:
        super().__init__(fps)
        self.version = f"1:{model}"
        self._top_k = top_k
        self._model = model
        self._classifier: Any = None

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """See Analyzer.frame_size."""
        return 224, 224

    def prepare(self, device: str) -> None:
        """See PerFrameAnalyzer.prepare."""
        from pipelines.models.classifiers import load_classifier  # noqa: PLC0415

        self._classifier = load_classifier(self._model, device)
        self.together = self._classifier.together

    def analyse(self, pixels: NDArray[np.uint8]) -> list[Rows]:
        """See PerFrameAnalyzer.analyse. One row per frame."""
        found = self.classify(pixels, self._top_k)
        return [[{"labels": [{"label": label, "score": score} for label, score in pairs]}] for pairs in found]

    def classify(self, pixels: NDArray[np.uint8], top_k: int = 5) -> list[list[tuple[str, float]]]:
        """Each picture's likeliest (label, probability) pairs, best first. uint8 (N, H, W, 3) RGB of any size."""
        import torch  # noqa: PLC0415

        if self._classifier is None:
            raise RuntimeError("call load(device) first")
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"expected uint8 (N, H, W, 3), not {pixels.dtype} {pixels.shape}")
        if not len(pixels):
            return []
        with torch.inference_mode():
            scores, classes = self._classifier.logits(pixels).softmax(1).topk(top_k)
            pairs = zip(classes.tolist(), scores.tolist(), strict=True)
        names = self._classifier.class_names
        return [[(names[c], s) for c, s in zip(cs, ss, strict=True)] for cs, ss in pairs]
