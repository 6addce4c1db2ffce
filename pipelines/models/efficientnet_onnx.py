"""EfficientNet-Lite0 as an ONNX graph, from the same weights: on a CPU, ONNX Runtime is far faster than torch.

`python -m tests.benchmarks.backends` measures by how much.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.devices import AT_WORK
from pipelines.models.efficientnet_lite import DEVIATION, EPSILON, MEAN, STAGES, read_weights
from pipelines.models.onnx_session import open_session, threads_per_model

Floats = NDArray[np.float32]
Frames = NDArray[np.uint8]
# What more would work on leaves the caches of a core: a fifth less CPU time a frame than with 20 at once.
AT_ONCE = 4


class CpuEfficientNetLite0:
    """uint8 (N, 224, 224, 3) RGB -> float32 logits (N, 1000) or features (N, 1280), for N of at least 1.

    Each thread takes `at_once` frames through the whole network: threads that share its every layer wait for one
    another. Where each core has a segment of its own (see AtWork) the caller's thread takes them all.
    """

    def __init__(self, threads: int | None = None, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._session: Any = open_session(_graph(read_weights()), "cpu", threads=1)
        self._pool = ThreadPoolExecutor(threads or threads_per_model())

    def logits(self, pixels: Frames) -> Floats:
        """The 1000 classes' logits."""
        return self._run("logits", pixels)

    def features(self, pixels: Frames) -> Floats:
        """What the classifier sees."""
        return self._run("features", pixels)

    def _run(self, output: str, pixels: Frames) -> Floats:
        def run(part: Frames) -> Floats:
            found: Floats = self._session.run([output], {"pixels": np.ascontiguousarray(part)})[0]
            return found

        parts = [pixels[first : first + self._at_once] for first in range(0, len(pixels), self._at_once)]
        several = len(parts) > 1 and not AT_WORK.fills_the_cores
        return np.concatenate(list((self._pool.map if several else map)(run, parts)))


class _Builder:
    """Collects nodes; each method adds some and returns the name of their output."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._weights = weights
        self.nodes: list[Any] = []
        self.initializers: dict[str, Floats] = {}

    def constant(self, name: str, value: Any = None) -> str:
        self.initializers[name] = np.asarray(self._weights[name] if value is None else value, np.float32)
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper  # noqa: PLC0415

        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolved(self, x: str, conv: str, norm: str, stride: int = 1, groups: int = 1, clipped: bool = True) -> str:
        """Convolution (padded as TensorFlow pads), normalisation, ReLU6. The runtime fuses the three."""
        weight = self.constant(f"{conv}.weight")
        y = self.node("Conv", x, weight, auto_pad="SAME_UPPER", strides=[stride] * 2, group=groups)
        parameters = [self.constant(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        y = self.node("BatchNormalization", y, *parameters, epsilon=EPSILON)
        return self.node("Clip", y, self.constant("zero", 0), self.constant("six", 6)) if clipped else y

    def block(self, x: str, prefix: str, inside: int, outside: int, expansion: int, stride: int) -> str:
        y, wide = x, inside * expansion
        if expansion > 1:
            y = self.convolved(y, f"{prefix}._expand_conv", f"{prefix}._bn0")
        y = self.convolved(y, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride, groups=wide)
        y = self.convolved(y, f"{prefix}._project_conv", f"{prefix}._bn2", clipped=False)
        return self.node("Add", x, y) if stride == 1 and inside == outside else y


def _graph(weights: Mapping[str, Any]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    build = _Builder(weights)
    planes = build.node("Cast", build.node("Transpose", "pixels", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    x = build.node("Div", build.node("Sub", planes, build.constant("mean", MEAN)), build.constant("scale", DEVIATION))
    y = build.convolved(x, "_conv_stem", "_bn0", stride=2)
    inside, number = 32, 0
    for expansion, _, stride, outside, repeats in STAGES:
        for repeat in range(repeats):
            y = build.block(y, f"_blocks.{number}", inside, outside, expansion, stride if repeat == 0 else 1)
            inside, number = outside, number + 1
    y = build.node("GlobalAveragePool", build.convolved(y, "_conv_head", "_bn1"))
    features = build.node("Flatten", y, output="features")
    build.node("Gemm", features, build.constant("_fc.weight"), build.constant("_fc.bias"), output="logits", transB=1)
    graph = helper.make_graph(
        build.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 224, 224, 3])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1280]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1000]),
        ],
        [numpy_helper.from_array(value, name) for name, value in build.initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised
