"""The analyzers as a remote actor for Python callers."""

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


class ModelsActor:
    """Runs analyzers on arrays of frames, and ends itself when nobody calls, so that its worker can go.

    Models are loaded when first asked for, and stay.
    """

    def __init__(self, idle_s: float) -> None:
        from pipelines.models.devices import pick_device  # noqa: PLC0415

        self._device = pick_device()
        self._models: dict[str, Any] = {}
        self._idle_s = idle_s
        self._last_call = time.monotonic()
        self._busy = threading.Lock()
        threading.Thread(target=self._leave_when_idle, daemon=True).start()

    def run(
        self,
        name: str,
        options: Mapping[str, Any],
        frames: npt.NDArray[np.uint8],
        times_s: npt.NDArray[np.float64],
    ) -> Any:
        """The records (a pyarrow Table) of uint8 (N, H, W, 3) RGB frames, shown at `times_s`, ascending from 0."""
        from pipelines.media.frames import FrameBatch  # noqa: PLC0415
        from pipelines.media.sampling import Segment  # noqa: PLC0415

        with self._busy:
            model = self._model(name, options)
            everything = model.start(Segment(0, 0.0, float(times_s[-1]), last=True))
            size = model.frame_size(*frames.shape[1:3])
            everything.add(FrameBatch(resized(frames, size), times_s, np.arange(len(frames), dtype=np.int64)))
            records = everything.finish()
            self._last_call = time.monotonic()
            return records

    def _model(self, name: str, options: Mapping[str, Any]) -> Any:
        from pipelines.analyzers.registry import load_analyzer  # noqa: PLC0415

        key = f"{name} {json.dumps(dict(options), sort_keys=True)}"
        if key not in self._models:
            model = load_analyzer(name, **options)
            model.load(self._device)
            self._models[key] = model
        return self._models[key]

    def _leave_when_idle(self) -> None:
        # In the actor itself, not in the caller: a caller that hangs must not hold a GPU.
        while True:
            time.sleep(self._idle_s / 10)
            if self._busy.acquire(blocking=False):
                if time.monotonic() - self._last_call > self._idle_s:
                    os._exit(0)
                self._busy.release()


def resized(frames: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 (N, H, W, 3) frames in another (height, width), as the decoder would have given them."""
    from av import VideoFrame  # noqa: PLC0415
    from av.video.reformatter import Interpolation  # noqa: PLC0415

    height, width = size
    if frames.shape[1:3] == size:
        return frames
    smaller = (
        VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            width=width, height=height, interpolation=Interpolation.BILINEAR
        )
        for frame in frames
    )
    return np.stack([frame.to_ndarray() for frame in smaller])
