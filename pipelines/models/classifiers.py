"""Image classifiers by name, and the names of the 1000 ImageNet classes."""

import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LITE0, LITE0_SIZE = "efficientnet-lite0", (224, 224)
Frames = NDArray[np.uint8]
_TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Classifier:
    """`logits`: uint8 (N, H, W, 3) RGB of any size, N of at least 1 -> float32 (N, classes), on any device.

    `together`: see SharedModel.
    """

    logits: Callable[[Frames], Tensor]
    class_names: tuple[str, ...]
    together: bool = True


def load_classifier(model: str, device: str) -> Classifier:
    """Load "efficientnet-lite0" or "torchvision:<name>" (its default weights). Raises ValueError for other names."""
    if model == LITE0:
        return _lite0(device)
    if model.startswith(_TORCHVISION):
        return _torchvision(model.removeprefix(_TORCHVISION), device)
    raise ValueError(f"unknown model {model!r}; choose {LITE0!r} or 'torchvision:<name>'")


def imagenet_names() -> tuple[str, ...]:
    """The 1000 class names, read from torchvision's own list without importing torchvision (3 s)."""
    spec = find_spec("torchvision")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        names = runpy.run_path(str(Path(folder, "models", "_meta.py")))["_IMAGENET_CATEGORIES"]
        return tuple(str(name) for name in names)
    raise FileNotFoundError("the class names come with torchvision: pip install aima-media[worker]")


def _lite0(device: str) -> Classifier:
    from pipelines.models.efficientnet_lite import DEVIATION, MEAN, load_efficientnet_lite0  # noqa: PLC0415

    if device == "cpu":
        return Classifier(_lite0_on_cpu(), imagenet_names(), together=False)
    logits = by_torch(load_efficientnet_lite0(), device, LITE0_SIZE, (MEAN,) * 3, (DEVIATION,) * 3)
    return Classifier(logits, imagenet_names())


def _lite0_on_cpu() -> Callable[[Frames], Tensor]:
    from pipelines.models.efficientnet_onnx import CpuEfficientNetLite0  # noqa: PLC0415

    network = CpuEfficientNetLite0()

    def logits(pixels: Frames) -> Tensor:
        if pixels.shape[1:3] != LITE0_SIZE:
            pixels = _resized(planes(pixels, "cpu"), LITE0_SIZE).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(network.logits(pixels))

    return logits


def _torchvision(name: str, device: str) -> Classifier:
    from torchvision import models  # noqa: PLC0415

    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    side = preset.crop_size[0]
    mean, deviation = ([255 * v for v in values] for values in (preset.mean, preset.std))
    network = models.get_model(name, weights=weights).eval()
    logits = by_torch(network, device, (side, side), mean, deviation)
    return Classifier(logits, tuple(weights.meta["categories"]))


def by_torch(
    network: Any, device: str, size: tuple[int, int], mean: Sequence[float], deviation: Sequence[float]
) -> Callable[[Frames], Tensor]:
    """The network's logits on the device, of pictures scaled to its (height, width) and by its 0..255 statistics."""
    placed = network.to(device=device, memory_format=torch.channels_last)
    subtracted, divided = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean, deviation))

    def logits(pixels: Frames) -> Tensor:
        x = (_resized(planes(pixels, device), size) - subtracted) / divided
        with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
            found: Tensor = placed(x.contiguous(memory_format=torch.channels_last))
        return found.float()

    return logits


def planes(pixels: Frames, device: str) -> Tensor:
    """float32 (N, 3, H, W) on the device, 0..255."""
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device).permute(0, 3, 1, 2).float()


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
