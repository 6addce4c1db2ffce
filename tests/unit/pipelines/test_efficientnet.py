"""The two forms of EfficientNet-Lite0 are one network."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from pipelines.analyzers.efficientnet_lite import DEVIATION, MEAN, load_efficientnet_lite0
from pipelines.analyzers.efficientnet_onnx import CpuEfficientNetLite0


@pytest.mark.parametrize("number", [1, 4, 6])  # less than, exactly and more than what is worked on at once
def test_onnx_runtime_gives_what_torch_gives(number: int) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (number, 224, 224, 3), np.uint8)
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - MEAN) / DEVIATION
    with torch.inference_mode():
        network = load_efficientnet_lite0()
        logits, features = network(x).numpy(), network.features(x).numpy()
    fast = CpuEfficientNetLite0()
    assert fast.logits(pixels) == pytest.approx(logits, abs=1e-4)
    assert fast.features(pixels) == pytest.approx(features, abs=1e-4)
