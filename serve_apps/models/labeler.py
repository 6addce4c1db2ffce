"""The labels model as a remote actor for Python callers."""

import os
import threading
import time

import numpy as np
import numpy.typing as npt

from pipelines.analyzers.labels import Labels


class Labeler:
    """Labels arrays of frames on a worker, and ends itself when nobody calls, so that the worker can go."""

    def __init__(self, idle_s: float) -> None:
        from pipelines.devices import pick_device  # noqa: PLC0415

        self._model = Labels()
        self._model.load(pick_device())
        self._idle_s = idle_s
        self._last_call = time.monotonic()
        self._busy = threading.Lock()
        threading.Thread(target=self._leave_when_idle, daemon=True).start()

    def labels(self, frames: npt.NDArray[np.uint8], top_k: int) -> list[list[tuple[str, float]]]:
        """Labels and scores for uint8 (N, H, W, 3) RGB frames."""
        with self._busy:
            answer = self._model.classify(frames, top_k=top_k)
            self._last_call = time.monotonic()
            return answer

    def _leave_when_idle(self) -> None:
        # In the actor itself, not in the caller: a caller that hangs must not hold a GPU.
        while True:
            time.sleep(self._idle_s / 10)
            if self._busy.acquire(blocking=False):
                if time.monotonic() - self._last_call > self._idle_s:
                    os._exit(0)
                self._busy.release()
