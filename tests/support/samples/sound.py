"""Small sound files made for tests: clicks at known times, and sentences spoken by espeak-ng."""

import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray


def clicks(seconds: float, at_s: list[float], rate: int) -> NDArray[np.float32]:
    """float32 (2, N): silence with a 5 ms tone burst at each of these times."""
    values = np.zeros(round(seconds * rate), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(round(0.005 * rate)) / rate)
    for time_s in at_s:
        start = round(time_s * rate)
        values[start : start + len(burst)] = burst[: len(values) - start]
    return np.stack([values, values])


def click_times(values: NDArray[np.float32], rate: int, start_s: float = 0.0) -> list[float]:
    """When each burst in mono float32 begins."""
    loud = np.flatnonzero(np.abs(values) > 0.2) / rate + start_s
    return [float(t) for i, t in enumerate(loud) if i == 0 or t - loud[i - 1] > 0.05]


def write(
    path: Path,
    values: NDArray[np.float32],
    rate: int,
    codec: str,
    start_s: float = 0.0,
    picture_from_s: float | None = None,
) -> Path:
    """Encode float32 (2, N) stereo; from `picture_from_s` on a second of black video goes with it."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="stereo")
        video: Any = container.add_stream("libx264", rate=25) if picture_from_s is not None else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(0, values.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(values[:, number : number + 1024]), "fltp", "stereo"
            )
            frame.rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = number + round(start_s * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if video is not None:
            for number in range(25):
                picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
                picture.time_base, picture.pts = Fraction(1, 25), number + round((picture_from_s or 0) * 25)
                container.mux(video.encode(picture))
            container.mux(video.encode())
    return path


def speak(text: str, path: Path, voice: str = "en-us", words_per_minute: int = 140) -> Path:
    """A WAV of the sentence. Skips the test without espeak-ng, or fails it where REQUIRE_SERVICES is set."""
    if shutil.which("espeak-ng") is None:
        if os.environ.get("REQUIRE_SERVICES"):
            pytest.fail("espeak-ng is missing: apt-get install espeak-ng")
        pytest.skip("espeak-ng is not installed (Debian package espeak-ng)")
    subprocess.run(["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-w", str(path), text], check=True)
    return path
