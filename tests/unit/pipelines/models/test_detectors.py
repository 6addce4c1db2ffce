"""From a detector's raw output to boxes. (The accuracy suite runs a real one.)"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from pipelines.models import detectors
from pipelines.models.detectors import decode_yolov8, decode_yolox, letterbox, suppressed
from pipelines.models.weights import WeightsError

CELLS = 64 * 64 + 32 * 32 + 16 * 16  # of 512 x 512, strides 8, 16, 32


def test_yolox_boxes_are_relative_to_their_cell() -> None:
    raw = np.zeros((CELLS, 7), np.float32)
    cell = 64 * 64 + 2 * 32 + 3  # column 3, row 2 of the grid with stride 16
    raw[cell] = [0.5, 0.25, np.log(2), np.log(4), 0.8, 0.1, 0.5]
    boxes, scores = decode_yolox(raw, 512, 512)
    assert boxes[cell] == pytest.approx([56 - 16, 36 - 32, 56 + 16, 36 + 32])
    assert scores[cell] == pytest.approx([0.08, 0.4])


def test_yolov8_boxes_are_in_pixels() -> None:
    raw = np.zeros((6, CELLS), np.float32)
    raw[:, 7] = [100, 50, 20, 10, 0.1, 0.9]
    boxes, scores = decode_yolov8(raw, 512, 512)
    assert boxes[7] == pytest.approx([90, 45, 110, 55])
    assert scores[7] == pytest.approx([0.1, 0.9])


def test_of_boxes_that_overlap_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 9, 9]], np.float32)
    scores = np.array([0.6, 0.9, 0.7, 0.5, -1], np.float32)
    classes = np.array([0, 0, 1, 0, 0])
    assert suppressed(boxes, scores, classes).tolist() == [1, 2, 3]


def test_a_picture_is_framed_without_distortion() -> None:
    framed, scale = letterbox(np.full((100, 200, 3), 255, np.uint8), 400, 400)
    assert (framed.shape, scale) == ((400, 400, 3), 2.0)
    assert framed[:200].min() == 255
    assert set(np.unique(framed[200:])) == {114}


def session(shape: list[int], metadata: dict[str, str] | None = None) -> Any:
    return SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="images", shape=[1, 3, 512, 512])],
        get_outputs=lambda: [SimpleNamespace(shape=shape)],
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map=metadata or {}),
        run=lambda names, inputs: [np.zeros(shape, np.float32)],
    )


def test_the_layout_is_told_by_the_shape() -> None:
    assert detectors._layout_of(session([1, CELLS, 85]), 512, 512) == "yolox"
    assert detectors._layout_of(session([1, 84, CELLS]), 512, 512) == "yolov8"
    with pytest.raises(WeightsError, match=r"shape \[1, 100, 6\].*option layout"):
        detectors._layout_of(session([1, 100, 6]), 512, 512)


def test_names_come_from_the_file_or_from_the_user() -> None:
    named = session([1, 6, CELLS], {"names": "{0: 'cat', 1: 'dog'}"})
    assert detectors._Onnx(named, "auto", [])._labels == ["cat", "dog"]
    assert detectors._Onnx(named, "auto", ["a", "b"])._label(1) == "b"
    assert detectors._Onnx(session([1, 6, CELLS]), "auto", [])._label(1) == "class 1"
    boxes, scores, labels = detectors._Onnx(named, "auto", []).detect(np.zeros((64, 64, 3), np.uint8), 0.5)
    assert (boxes.shape, scores.shape, labels) == ((0, 4), (0,), [])
