"""Image classifiers by name, and the names of the 1000 ImageNet classes."""

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LITE0 = "efficientnet-lite0"
_TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Classifier:
    """A network, the (height, width) it wants, the mean and deviation of its input (0..255), and its class names."""

    network: Callable[[Tensor], Tensor]
    size: tuple[int, int]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    class_names: tuple[str, ...]
    version: str


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
    raise FileNotFoundError("the class names come with torchvision: pip install aima[worker]")


def _lite0(device: str) -> Classifier:
    from pipelines.analyzers.efficientnet_lite import VERSION, load_efficientnet_lite0  # noqa: PLC0415

    network = _lite0_on_cpu() if device == "cpu" else _placed(load_efficientnet_lite0(), device)
    return Classifier(network, (224, 224), (127.0,) * 3, (128.0,) * 3, imagenet_names(), VERSION)


def _lite0_on_cpu() -> Callable[[Tensor], Tensor]:
    from pipelines.analyzers.efficientnet_onnx import CpuEfficientNetLite0  # noqa: PLC0415

    network = CpuEfficientNetLite0()
    return lambda x: torch.from_numpy(network.logits(x.numpy()))


def _torchvision(name: str, device: str) -> Classifier:
    from torchvision import models  # noqa: PLC0415

    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    side = preset.crop_size[0]
    mean, deviation = (tuple(255 * v for v in values) for values in (preset.mean, preset.std))
    network = _placed(models.get_model(name, weights=weights).eval(), device)
    version = f"torchvision-{name}-{weights.name}"
    return Classifier(network, (side, side), mean, deviation, tuple(weights.meta["categories"]), version)


def _placed(network: Any, device: str) -> Any:
    return network.to(device=device, memory_format=torch.channels_last)
