"""What the client checks before a worker is bought for remote models."""

import numpy as np
import pytest

from cluster.client import Model, connect
from serve_apps.models.models_actor import ModelsActor, resized


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 2, 2, 3), np.float32),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((1, 2, 2, 4), np.uint8),
        np.zeros((0, 2, 2, 3), np.uint8),
    ],
)
def test_frames_of_another_shape_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, H, W, 3\) with N of 1 or more, got"):
        Model(None, None, "labels", {}).run(frames)  # type: ignore[arg-type]


@pytest.mark.parametrize("times_s", [[0.0], [1.0, 0.5], [-1.0, 0.0]])
def test_times_must_ascend_one_for_each_frame(times_s: list[float]) -> None:
    with pytest.raises(ValueError, match="times_s must be 2 ascending seconds"):
        Model(None, None, "labels", {}).run(  # type: ignore[arg-type]
            np.zeros((2, 2, 2, 3), np.uint8), np.array(times_s)
        )


def test_an_address_needs_the_clusters_ray_token() -> None:
    with pytest.raises(ValueError, match="token_path"):
        connect(address="ray://127.0.0.1:1")


def test_an_actor_runs_any_analyzer_on_arrays() -> None:
    actor = ModelsActor(idle_s=600.0)
    frames = np.zeros((4, 40, 60, 3), np.uint8)
    frames[2:] = 255
    labels = actor.run("labels", {"top_k": 3}, frames, np.arange(4) / 2.0)
    assert labels["time_s"].to_pylist() == [0.0, 0.5, 1.0, 1.5]
    assert [len(row) for row in labels["labels"].to_pylist()] == [3] * 4
    cuts = actor.run("scenes", {"threshold": 0.01}, frames, np.arange(4) / 25)
    assert set(cuts.column_names) >= {"time_s", "score"}


def test_frames_are_resized_as_the_decoder_does() -> None:
    frames = np.full((2, 8, 8, 3), 77, np.uint8)
    assert resized(frames, (4, 6)).shape == (2, 4, 6, 3)
    assert (resized(frames, (4, 6)) == 77).all()
    assert resized(frames, (8, 8)) is frames
