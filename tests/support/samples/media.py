"""Small clips whose every frame carries its own number, so that "the right frame" is really checked.

Encoded with PyAV (no ffmpeg binary is needed): 60 frames of 160x96 in many codecs and containers, and damaged files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, BITS = 160, 96, 10
FRAMES = 60
_PATTERN_BITS = 1 << np.arange(BITS)


@dataclass(frozen=True)
class Clip:
    """A file and what it shows: `numbers[i]` is on screen from `times_s[i]`."""

    path: Path
    numbers: tuple[int, ...]
    times_s: tuple[float, ...]
    tolerance_s: float


@dataclass(frozen=True)
class Recipe:
    """How a clip is encoded. `spacing` gives each frame's duration in ticks of `time_base`."""

    file: str
    codec: str
    fps: Fraction = Fraction(25)
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    rotation: int = 0
    spacing: tuple[int, ...] = (1,)
    time_base: Fraction | None = None


_X264 = {"g": "12", "bf": "3", "preset": "veryfast", "crf": "18"}
_OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3"}
RECIPES = {
    "h264-mp4": Recipe("a.mp4", "libx264", options=_X264),
    "h264-open-gop": Recipe("open.mp4", "libx264", options=_X264 | _OPEN_GOP),
    "h264-fragmented": Recipe("frag.mp4", "libx264", options=_X264, container={"movflags": "frag_keyframe+empty_moov"}),
    "h264-mkv": Recipe("a.mkv", "libx264", options=_X264),
    "h264-ts": Recipe("a.ts", "libx264", options=_X264),
    "h264-ts-open-gop": Recipe("open.ts", "libx264", options=_X264 | _OPEN_GOP),
    "hevc-mp4": Recipe("h.mp4", "libx265", options={"x265-params": "keyint=12:log-level=none", "preset": "ultrafast"}),
    "mpeg4-avi": Recipe("a.avi", "mpeg4", options={"g": "12", "qscale": "3"}),
    "mjpeg-mov": Recipe("j.mov", "mjpeg", pixel_format="yuvj420p"),
    "vp9-webm": Recipe("a.webm", "libvpx-vp9", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "vp8-webm": Recipe("b.webm", "libvpx", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "ntsc-mp4": Recipe("ntsc.mp4", "libx264", fps=Fraction(30000, 1001), options=_X264),
    "ntsc-mkv": Recipe("ntsc.mkv", "libx264", fps=Fraction(30000, 1001), options=_X264),
    "7fps-mp4": Recipe("seven.mp4", "libx264", fps=Fraction(7), options=_X264),
    "vfr-mp4": Recipe("vfr.mp4", "libx264", options=_X264, spacing=(3, 1, 7, 2, 11), time_base=Fraction(1, 90)),
    "rotated-mp4": Recipe("rotated.mp4", "libx264", options=_X264, rotation=90),
    "rotated-back-mp4": Recipe("rotated_back.mp4", "libx264", options=_X264, rotation=-90),
    "upside-down-mp4": Recipe("upside_down.mp4", "libx264", options=_X264, rotation=180),
}


def pattern(number: int) -> NDArray[np.uint8]:
    """A picture with `number` as vertical bars; the top edge is bright, so that being upside down shows."""
    bars = np.repeat((number & _PATTERN_BITS) > 0, WIDTH // BITS)
    picture = np.where(bars, 220, 40).astype(np.uint8)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)
    picture[: HEIGHT // 4] = 255
    picture[-HEIGHT // 4 :] = 0
    return picture


def read_pattern(pixels: NDArray[np.uint8]) -> int:
    """The number in a decoded frame, uint8 (H, W, 3), of any size; -1 if the frame is not upright."""
    height, width = pixels.shape[:2]
    if pixels[: height // 8].mean() < 200 or pixels[-height // 8 :].mean() > 60:
        return -1
    middle = pixels[height * 3 // 8 : height * 5 // 8].mean(axis=(0, 2))
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(((middle[centres] > 130) * _PATTERN_BITS).sum())


def build(name: str, folder: Path) -> Clip:
    """Encode one of RECIPES, or the edit-list clip."""
    if name == "edit-list-mp4":
        return _with_edit_list(folder)
    recipe = RECIPES[name]
    path = folder / recipe.file
    time_base = recipe.time_base or 1 / recipe.fps
    ticks = [0]
    for i in range(FRAMES - 1):
        ticks.append(ticks[-1] + recipe.spacing[i % len(recipe.spacing)])
    encode(path, recipe, [pattern(n) for n in range(FRAMES)], ticks, time_base)
    rounding = 0.0011 if path.suffix in (".mkv", ".webm") else 2e-5
    return Clip(path, tuple(range(FRAMES)), tuple(float(t * time_base) for t in ticks), rounding)


CLIPS = (*RECIPES, "edit-list-mp4")


def encode(
    path: Path, recipe: Recipe, pictures: Sequence[NDArray[np.uint8]], ticks: Sequence[int], time_base: Fraction
) -> None:
    """Write pictures, uint8 (H, W, 3), as a video."""
    turned = [np.ascontiguousarray(np.rot90(picture, -recipe.rotation // 90)) for picture in pictures]
    with av.open(str(path), "w", options=recipe.container) as container:
        stream: Any = container.add_stream(recipe.codec, rate=recipe.fps, options=recipe.options)
        stream.height, stream.width = turned[0].shape[:2]
        stream.pix_fmt = recipe.pixel_format
        stream.codec_context.time_base = time_base
        if recipe.rotation:
            stream.set_display_rotation(recipe.rotation)
        for picture, tick in zip(turned, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _with_edit_list(folder: Path, skipped: int = 17) -> Clip:
    """A copy whose header says "start at frame 17": what `ffmpeg -ss ... -c copy` makes, and phones too."""
    source = build("h264-mp4", folder)
    path = folder / "edited.mp4"
    with av.open(str(source.path)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        assert stream.time_base
        shift = round(skipped / 25 / stream.time_base)
        for packet in reader.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                writer.mux(packet)
    numbers = tuple(range(skipped, FRAMES))
    return Clip(path, numbers, tuple((n - skipped) / 25 for n in numbers), 2e-5)


def audio_only(folder: Path) -> Path:
    """A second of silence."""
    path = folder / "silence.wav"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def empty(folder: Path) -> Path:
    """No bytes."""
    path = folder / "empty.mp4"
    path.touch()
    return path


def not_media(folder: Path) -> Path:
    """A text that calls itself a video."""
    path = folder / "text.mp4"
    path.write_text("this is no video\n" * 100)
    return path


def truncated(folder: Path) -> Path:
    """An upload that broke off: the index at the file's end is missing."""
    data = build("h264-mp4", folder).path.read_bytes()
    path = folder / "truncated.mp4"
    path.write_bytes(data[: len(data) // 2])
    return path


def cut_off(folder: Path, keep: float = 0.85) -> Path:
    """The index comes first and promises 60 frames, but the data ends early."""
    path = folder / "cut_off.mp4"
    recipe = Recipe(path.name, "libx264", options=_X264, container={"movflags": "faststart"})
    encode(path, recipe, [pattern(n) for n in range(FRAMES)], range(FRAMES), Fraction(1, 25))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def damaged(folder: Path) -> Path:
    """Rubbish amid the data: the header is whole, some frames are not."""
    data = bytearray(build("h264-mp4", folder).path.read_bytes())
    path = folder / "damaged.mp4"
    start = data.index(b"mdat") + int((data.index(b"moov") - data.index(b"mdat")) * 0.6)
    rng = np.random.default_rng(7)
    data[start : start + 150] = rng.integers(0, 256, 150, np.uint8).tobytes()
    path.write_bytes(bytes(data))
    return path


BROKEN: dict[str, Callable[[Path], Path]] = {
    "empty": empty,
    "not media": not_media,
    "truncated": truncated,
    "audio only": audio_only,
}
