"""Object detectors: torchvision's by name, and ONNX files in the output layouts that are common.

Boxes are float32 (K, 4) as left, top, right, bottom in pixels of the picture that was given.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.models.onnx_session import open_session
from pipelines.models.weights import WeightsError, weights_file

_TORCHVISION = "torchvision:"
_STRIDES = (8, 16, 32)
_GREY = 114  # what YOLO networks were trained to see around a picture
_OVERLAP = 0.45
_DEFAULT_SIDE = 640

Floats = NDArray[np.float32]
Found = tuple[Floats, Floats, list[str]]  # boxes, scores, labels


class Detector(Protocol):
    """Finds things in one picture."""

    side: int  # the longest side it wants, in pixels

    def detect(self, picture: NDArray[np.uint8], min_score: float) -> Found:
        """uint8 (H, W, 3) RGB -> boxes, scores (0 to 1), labels; best first."""
        ...


def load_detector(model: str, layout: str, labels: Sequence[str], device: str) -> Detector:
    """ "torchvision:<name>" (default weights), or an ONNX file: a path or s3://. Raises WeightsError."""
    if model.startswith(_TORCHVISION):
        return _Torchvision(model.removeprefix(_TORCHVISION), device)
    return _Onnx(open_session(weights_file(model), device), layout, labels)


class _Torchvision:
    side = 1333

    def __init__(self, name: str, device: str) -> None:
        from torchvision import models  # noqa: PLC0415

        try:
            weights = models.get_model_weights(name).DEFAULT
            self._network: Any = models.get_model(name, weights=weights).eval().to(device)
        except (OSError, ValueError) as error:
            raise WeightsError(f"the weights of torchvision:{name} cannot be had here: {error}") from error
        self._labels = weights.meta["categories"]
        self._device = device

    def detect(self, picture: NDArray[np.uint8], min_score: float) -> Found:
        import torch  # noqa: PLC0415

        x = torch.from_numpy(np.array(picture)).to(self._device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            (found,) = self._network([x])
        boxes, scores, classes = (found[key].float().cpu().numpy() for key in ("boxes", "scores", "labels"))
        keep = scores >= min_score
        return boxes[keep], scores[keep], [self._labels[int(c)] for c in classes[keep]]


@dataclass(frozen=True)
class _Layout:
    """How a network was trained to see a picture."""

    bgr: bool
    scale: float


_LAYOUTS = {"yolox": _Layout(bgr=True, scale=1.0), "yolov8": _Layout(bgr=False, scale=1 / 255)}


class _Onnx:
    def __init__(self, session: Any, layout: str, labels: Sequence[str]) -> None:
        self._session = session
        (picture,) = session.get_inputs()
        self._input = picture.name
        fixed = [n for n in picture.shape[2:] if isinstance(n, int)]
        self._height, self._width = fixed if len(fixed) == 2 else (_DEFAULT_SIDE, _DEFAULT_SIDE)
        self.side = max(self._height, self._width)
        self._layout = layout if layout != "auto" else _layout_of(session, self._height, self._width)
        self._labels = list(labels) or _labels_in(session)

    def detect(self, picture: NDArray[np.uint8], min_score: float) -> Found:
        x, scale = letterbox(picture, self._height, self._width)
        how = _LAYOUTS[self._layout]
        values = (x[..., ::-1] if how.bgr else x).astype(np.float32) * how.scale
        (output, *_) = self._session.run(None, {self._input: np.ascontiguousarray(values.transpose(2, 0, 1)[None])})
        decode = decode_yolox if self._layout == "yolox" else decode_yolov8
        boxes, scores = decode(output[0], self._height, self._width)
        classes, best = scores.argmax(1), scores.max(1)
        keep = suppressed(boxes, np.where(best >= min_score, best, -1.0), classes)
        limits = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32)
        within = np.clip(boxes[keep] / scale, 0, limits)
        return within, best[keep], [self._label(int(c)) for c in classes[keep]]

    def _label(self, number: int) -> str:
        return self._labels[number] if number < len(self._labels) else f"class {number}"


def letterbox(picture: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], float]:
    """The picture scaled into (height, width) from the upper left corner on, grey beside it; and the scale."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    framed = np.full((height, width, 3), _GREY, np.uint8)
    framed[: size[0], : size[1]] = _resized(picture, *size)
    return framed, scale


def decode_yolox(output: Floats, height: int, width: int) -> tuple[Floats, Floats]:
    """YOLOX's raw output, (N, 5 + classes), on grids of stride 8, 16, 32 -> boxes (N, 4), scores (N, classes)."""
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((x.size, 1), stride))
    cell, stride_of = np.concatenate(cells), np.concatenate(strides)
    middle = (output[:, :2] + cell) * stride_of
    half = np.exp(output[:, 2:4]) * stride_of / 2
    return np.concatenate([middle - half, middle + half], 1).astype(np.float32), output[:, 4:5] * output[:, 5:]


def decode_yolov8(output: Floats, height: int, width: int) -> tuple[Floats, Floats]:
    """YOLOv8's output, (4 + classes, N), middle and size in pixels -> boxes (N, 4), scores (N, classes)."""
    rows = output.T
    middle, half = rows[:, :2], rows[:, 2:4] / 2
    return np.concatenate([middle - half, middle + half], 1), rows[:, 4:]


def suppressed(boxes: Floats, scores: Floats, classes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Which boxes stay, best first: of boxes of one class that overlap, the best. Negative scores never do."""
    import torch  # noqa: PLC0415
    from torchvision.ops import batched_nms  # noqa: PLC0415

    good = np.flatnonzero(scores >= 0)
    b, s, c = (torch.from_numpy(np.ascontiguousarray(a[good])) for a in (boxes, scores.astype(np.float32), classes))
    kept: NDArray[np.int64] = good[batched_nms(b, s, c, _OVERLAP).numpy()]
    return kept


def _resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if picture.shape[:2] == (height, width):
        return picture
    import torch  # noqa: PLC0415

    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    y = torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
    sized: NDArray[np.uint8] = y[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return sized


def _layout_of(session: Any, height: int, width: int) -> str:
    """By the shape of the output. Raises WeightsError for one that is neither."""
    shape = session.get_outputs()[0].shape
    cells = sum((height // stride) * (width // stride) for stride in _STRIDES)
    if len(shape) == 3 and shape[1] == cells:
        return "yolox"
    if len(shape) == 3 and shape[2] == cells:
        return "yolov8"
    raise WeightsError(f"an output of shape {shape} is neither YOLOX's nor YOLOv8's: say which by the option layout")


def _labels_in(session: Any) -> list[str]:
    """The class names that some exporters put into the file's metadata."""
    try:
        names = ast.literal_eval(session.get_modelmeta().custom_metadata_map.get("names", "{}"))
    except (ValueError, SyntaxError):
        return []
    return [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else [str(name) for name in names]
