"""The two forms of EfficientNet-Lite0 are one network."""

import contextlib
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from pipelines.analyzers.embeddings import Embeddings, features_by_torch
from pipelines.analyzers.labels import Labels
from pipelines.models.classifiers import LITE0_SIZE, by_torch, load_classifier
from pipelines.models.devices import AtWork
from pipelines.models.efficientnet_lite import DEVIATION, MEAN, load_efficientnet_lite0
from pipelines.models.efficientnet_onnx import CpuEfficientNetLite0


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


def test_the_labels_of_several_segments_run_side_by_side() -> None:
    for analyzer in (Labels(), Embeddings()):
        analyzer.load("cpu")
        assert not analyzer.shared.together


@pytest.mark.parametrize("at_work", [0, 2])
def test_frames_take_threads_of_their_own_while_cores_are_to_spare(
    at_work: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = AtWork(cores=2)
    monkeypatch.setattr("pipelines.models.efficientnet_onnx.AT_WORK", work)
    pixels = np.random.default_rng(8).integers(0, 256, (6, 224, 224, 3), np.uint8)
    fast = CpuEfficientNetLite0(threads=2)
    expected = np.concatenate([fast.logits(pixels[:4]), fast.logits(pixels[4:])])
    session, threads = fast._session, set()

    def run(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return session.run(*arguments)

    fast._session = SimpleNamespace(run=run)
    with contextlib.ExitStack() as stack:
        for _ in range(at_work):
            stack.enter_context(work)
        assert fast.logits(pixels) == pytest.approx(expected, abs=1e-5)
    assert (threading.get_ident() in threads) is bool(at_work)
    assert not work.fills_the_cores


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
