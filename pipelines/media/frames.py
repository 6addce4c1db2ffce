"""Frames as arrays: what decoders give and models take."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FrameBatch:
    """N frames of one video in presentation order.

    pixels: uint8 (N, H, W, 3), RGB, upright (rotation applied).
    times_s: float64 (N,), seconds from the stream's first frame.
    indices: int64 (N,), the frames' numbers in the stream, from 0.
    """

    pixels: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    indices: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.times_s) == len(self.indices):
            raise ValueError("a batch needs one time and one index for each frame")

    def __len__(self) -> int:
        return len(self.pixels)
