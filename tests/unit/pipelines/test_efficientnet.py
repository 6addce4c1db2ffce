"""The two forms of EfficientNet-Lite0 are one network."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from pipelines.analyzers.classifiers import LITE0_SIZE, by_torch, load_classifier
from pipelines.analyzers.efficientnet_lite import DEVIATION, MEAN, load_efficientnet_lite0
from pipelines.analyzers.efficientnet_onnx import CpuEfficientNetLite0
from pipelines.analyzers.embeddings import features_by_torch


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


@pytest.mark.parametrize("size", [(224, 224), (300, 400)])
def test_classifiers_for_the_cpu_and_for_gpus_agree(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (2, *size, 3), np.uint8)
    pixels.flags.writeable = False  # as frames from another process are
    with torch.inference_mode():
        expected = by_torch(load_efficientnet_lite0(), "cpu", LITE0_SIZE, (MEAN,) * 3, (DEVIATION,) * 3)(pixels)
        found = load_classifier("efficientnet-lite0", "cpu").logits(pixels)
    # Pictures of another size are rounded to whole values for the CPU.
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4 if size == LITE0_SIZE else 0.1)


def test_features_for_gpus_are_those_of_the_cpu() -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (2, 224, 224, 3), np.uint8)
    found = features_by_torch(load_efficientnet_lite0(), "cpu", pixels)
    assert found == pytest.approx(CpuEfficientNetLite0().features(pixels), abs=1e-4)
