"""The two forms of EfficientNet-Lite0 are one network."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from pipelines.analyzers.efficientnet_lite import load_efficientnet_lite0
from pipelines.analyzers.efficientnet_onnx import CpuEfficientNetLite0


def test_onnx_runtime_gives_what_torch_gives() -> None:
    x = np.random.default_rng(5).uniform(-1, 1, (3, 3, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        network = load_efficientnet_lite0()
        logits, features = network(torch.from_numpy(x)).numpy(), network.features(torch.from_numpy(x)).numpy()
    fast = CpuEfficientNetLite0()
    assert fast.logits(x) == pytest.approx(logits, abs=1e-4)
    assert fast.features(x) == pytest.approx(features, abs=1e-4)
    assert fast.logits(x[:1]) == pytest.approx(logits[:1], abs=1e-4)
