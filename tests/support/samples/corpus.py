"""Damaged and strange files, made when needed: what users upload, and what they should not.

Each maker writes one file and says what must come of it: so many frames at least (0: frames or an error, but nothing
worse), or an error with this cause.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.support.samples import media
from tests.support.samples.media import RECIPES, Recipe

Expected = int | str
Maker = Callable[[Path], tuple[Path, Expected]]
_NOT_MEDIA = "not a media file"
_X264 = RECIPES["h264-mp4"].options


def _encoded(
    name: str, recipe: Recipe, count: int = 20, size: tuple[int, int] = (96, 160), first: int = 0, step: int = 1
) -> Maker:
    """A video of `count` plain pictures, whose ticks begin at `first`."""

    def make(folder: Path) -> tuple[Path, Expected]:
        path = folder / name
        ticks = [first + step * n for n in range(count)]
        media.encode(path, recipe, list(_pictures(count, size)), ticks, recipe.time_base or 1 / recipe.fps)
        return path, count

    return make


def _pictures(count: int, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    height, width = size
    ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    for number in range(count):
        yield np.roll(ramp, number * 8, axis=1)


def _clip(recipe: str, name: str, expected: Expected = 60) -> Maker:
    """One of the conformance suite's clips, under another name."""
    return lambda folder: (_copy(media.build(recipe, folder).path.read_bytes(), folder / name), expected)


def _changed(recipe: str, name: str, change: Callable[[bytearray], bytes | bytearray], expected: Expected = 0) -> Maker:
    """A clip whose bytes were changed."""
    return lambda folder: (
        _copy(bytes(change(bytearray(media.build(recipe, folder).path.read_bytes()))), folder / name),
        expected,
    )


def _copy(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def _text(name: str, text: str, expected: Expected = _NOT_MEDIA) -> Maker:
    return lambda folder: (_copy(text.encode(), folder / name), expected)


def _fuzzed(seed: int, start: float, end: float, share: float) -> Callable[[bytearray], bytearray]:
    """Random bytes in place of a share of those between two positions (fractions of the file)."""

    def change(data: bytearray) -> bytearray:
        rng = np.random.default_rng(seed)
        first, last = int(len(data) * start), int(len(data) * end)
        for at in rng.integers(first, last, max(1, int((last - first) * share))):
            data[at] = rng.integers(256)
        return data

    return change


def _header_fuzzed(seed: int) -> Callable[[bytearray], bytearray]:
    """Random bytes in the index of an MP4."""

    def change(data: bytearray) -> bytearray:
        start = data.index(b"moov") / len(data)
        return _fuzzed(seed, start, 1.0, 0.02)(data)

    return change


def _half(data: bytearray) -> bytearray:
    return data[: len(data) // 2]


def _with_sound(folder: Path) -> tuple[Path, Expected]:
    path = folder / "sound.mkv"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options=_X264)
        video.height, video.width, video.pix_fmt = 96, 160, "yuv420p"
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        for picture in _pictures(20, (96, 160)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 12800), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        container.mux(audio.encode(sound))
        container.mux(video.encode() + audio.encode())
    return path, 20


def _resolution_change(folder: Path) -> tuple[Path, Expected]:
    """A stream that switches from 160x96 to 320x192."""
    small, _ = _encoded("small.h264", _H264)(folder)
    large, _ = _encoded("large.h264", _H264, size=(192, 320))(folder)
    return _copy(small.read_bytes() + large.read_bytes(), folder / "switch.h264"), 38


def _no_frames(folder: Path) -> tuple[Path, Expected]:
    """A header that promises a video, and nothing after it."""
    path = folder / "promise.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.start_encoding()
    return path, "ends before its first frame"


def _endless(data: bytearray) -> bytearray:
    """The header claims days."""
    at = data.index(b"mvhd") + 4 + 16
    data[at : at + 4] = (0x7FFFFFFF).to_bytes(4, "big")
    at = data.index(b"mdhd") + 4 + 16
    data[at : at + 4] = (0x7FFFFFFF).to_bytes(4, "big")
    return data


def _folder(folder: Path) -> tuple[Path, Expected]:
    path = folder / "folder.mp4"
    path.mkdir()
    return path, "is a folder"


_TEN_BIT = {"x265-params": "log-level=none", "preset": "ultrafast"}
_HDR = {"x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc", "preset": "ultrafast"}
_FIELDS = {"x264-params": "tff=1:interlaced=1", "preset": "veryfast"}
_HEVC, _H264, _MPEG2 = RECIPES["hevc-mp4"], RECIPES["h264-mp4"], Recipe("m", "mpeg2video")

CORPUS: dict[str, Maker] = {
    "zero bytes": lambda folder: (media.empty(folder), "the file is empty"),
    "text": lambda folder: (media.not_media(folder), _NOT_MEDIA),
    "one byte": _text("byte.mp4", "x"),
    "a folder": _folder,
    "missing": lambda folder: (folder / "gone.mp4", "no such file"),
    "html page": _text("page.mp4", "<!doctype html><title>Not found</title>"),
    "playlist": _text("list.m3u8", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
    "concat script": _text("list.ffconcat", "ffconcat version 1.0\nfile /etc/passwd\n"),
    "session description": _text("stream.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
    "audio only": lambda folder: (media.audio_only(folder), "no video stream"),
    "with sound": _with_sound,
    "header without frames": _no_frames,
    "mp4 named avi": _clip("h264-mp4", "wrong.avi"),
    "mkv named mp4": _clip("h264-mkv", "wrong.mp4"),
    "ts without extension": _clip("h264-ts", "noextension"),
    "one frame mp4": _encoded("one.mp4", _H264, count=1),
    "one frame webm": _encoded("one.webm", RECIPES["vp8-webm"], count=1),
    "two frames": _encoded("two.mp4", _H264, count=2),
    "8K": _encoded("8k.mp4", replace(_H264, options={"preset": "ultrafast"}), count=2, size=(4320, 7680)),
    "16 pixels": _encoded("tiny.mp4", _H264, size=(16, 16)),
    "very wide": _encoded("wide.mp4", _H264, size=(16, 2048)),
    "odd size": _encoded("odd.mkv", Recipe("o", "ffv1", pixel_format="yuv444p"), size=(97, 161)),
    "odd size h264": _encoded("odd.mp4", replace(_H264, pixel_format="yuv444p"), size=(97, 161)),
    "10 bit": _encoded("ten.mp4", replace(_HEVC, pixel_format="yuv420p10le", options=_TEN_BIT)),
    "10 bit h264": _encoded("high10.mp4", replace(_H264, pixel_format="yuv420p10le")),
    "hdr": _encoded("hdr.mp4", replace(_HEVC, pixel_format="yuv420p10le", options=_HDR)),
    "interlaced h264": _encoded("fields.mp4", replace(_H264, options=_FIELDS)),
    "interlaced h264 broadcast": _encoded("fields.ts", replace(_H264, options=_FIELDS)),
    "mpeg2 broadcast": _encoded("two.ts", _MPEG2),
    "mpeg1 program": _encoded("one.mpg", Recipe("m", "mpeg1video")),
    "flv": _encoded("flash.flv", Recipe("f", "flv")),
    "gif": _encoded("moving.gif", Recipe("g", "gif", fps=Fraction(10), pixel_format="rgb8")),
    "mjpeg avi": _encoded("j.avi", Recipe("j", "mjpeg", pixel_format="yuvj420p")),
    "raw h264": _encoded("raw.h264", _H264),
    "grey": _encoded("grey.mkv", Recipe("g", "ffv1", pixel_format="gray")),
    "transparent": _encoded("alpha.mkv", Recipe("a", "ffv1", pixel_format="bgra")),
    "rgb": _encoded("rgb.mkv", Recipe("r", "libx264rgb", pixel_format="rgb24")),
    "rotated": _clip("rotated-mp4", "turned.mp4"),
    "variable rate": _clip("vfr-mp4", "vfr.mp4"),
    "edit list": _clip("edit-list-mp4", "edited.mp4", 43),
    "a keyframe an hour": _encoded("long.mp4", replace(_H264, options={"preset": "veryfast", "g": "9999"}), count=700),
    "1000 frames a second": _encoded("fast.mp4", replace(_H264, fps=Fraction(1000)), count=100),
    "a frame a minute": _encoded("slow.mkv", replace(_H264, time_base=Fraction(1)), count=5, step=60),
    "huge timestamps": _encoded("late.mkv", _H264, first=25 * 3600 * 24 * 300),
    "timestamps that wrap": _encoded("wrap.ts", RECIPES["h264-ts"], first=25 * 95_443 - 10),
    "claims days": _changed("h264-mp4", "days.mp4", _endless),
    "resolution change": _resolution_change,
    "no index": lambda folder: (media.truncated(folder), _NOT_MEDIA),
    "cut off": lambda folder: (media.cut_off(folder), r"(cut off|damaged).*\(at 1\.\d+ s\)"),
    "damaged": lambda folder: (media.damaged(folder), r"damaged.*\(at 1\.\d+ s\)"),
    "half an mkv": _changed("h264-mkv", "half.mkv", _half),
    "half a webm": _changed("vp9-webm", "half.webm", _half),
    "half a broadcast": _changed("h264-ts", "half.ts", _half, 20),
    "half an avi": _changed("mpeg4-avi", "half.avi", _half),
    "rubbish before": _changed("h264-ts", "before.ts", lambda data: b"\x00rubbish" * 100 + bytes(data), 50),
    "rubbish after": _changed("h264-mp4", "after.mp4", lambda data: bytes(data) + b"rubbish" * 1000, 60),
    "twice": _changed("h264-mp4", "twice.mp4", lambda data: data + data, 60),
    "zeros amid": _changed("h264-ts", "zeros.ts", lambda data: data[:8000] + bytes(4000) + data[12000:]),
    **{f"fuzzed index {n}": _changed("h264-mp4", f"index{n}.mp4", _header_fuzzed(n)) for n in range(6)},
    **{f"fuzzed mkv {n}": _changed("h264-mkv", f"fuzz{n}.mkv", _fuzzed(n, 0, 0.1, 0.02)) for n in range(4)},
    **{f"fuzzed ts {n}": _changed("h264-ts", f"fuzz{n}.ts", _fuzzed(n, 0, 1, 0.002)) for n in range(4)},
    **{f"fuzzed webm {n}": _changed("vp9-webm", f"fuzz{n}.webm", _fuzzed(n, 0, 1, 0.005)) for n in range(4)},
    **{f"fuzzed avi {n}": _changed("mpeg4-avi", f"fuzz{n}.avi", _fuzzed(n, 0, 0.2, 0.01)) for n in range(4)},
    **{f"fuzzed hevc {n}": _changed("hevc-mp4", f"fuzz{n}.mp4", _fuzzed(n, 0.02, 0.8, 0.005)) for n in range(4)},
}
