"""An analyzer in one file, to copy: how bright each sampled frame is. Plain arithmetic, no model.

For your own, write such a class in a module of yours, and either name it as "module:Class" wherever a name is asked
for in a batch job or in Python, or register it in your package's metadata, so that the API knows it by name too:

    [project.entry-points."aima.analyzers"]
    brightness = "my_package.brightness:Brightness"

Keep heavy imports inside `prepare`: the class is also read where nothing but its description is wanted.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.analyzers.contract import Description
from pipelines.analyzers.options import Number
from pipelines.analyzers.per_frame import PerFrameAnalyzer, Rows

_BT709 = np.array([0.2126, 0.7152, 0.0722], np.float32)


class Brightness(PerFrameAnalyzer):
    """Mean and spread of the luma of each sampled frame: black frames and fades show at once."""

    name = "brightness"
    description = Description(
        summary="how bright each frame is, and how much it varies",
        takes="frames",
        lane="cpu",
        cost_hint=0.001,
        options={"fps": Number(1.0, 0, 120, above=True)},
    )
    columns = (("mean", pa.float32()), ("deviation", pa.float32()))
    units = {"mean": "BT.709 luma of R'G'B', 0 to 255", "deviation": "the same, standard deviation"}  # noqa: RUF012
    version = "1"

    def __init__(self, fps: float = 1.0) -> None:
        super().__init__(fps)

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """A small picture is enough."""
        return 72, 128

    def analyse(self, pixels: NDArray[np.uint8]) -> list[Rows]:
        """See PerFrameAnalyzer.analyse."""
        luma = pixels.astype(np.float32) @ _BT709
        return [[{"mean": picture.mean(), "deviation": picture.std()}] for picture in luma]
