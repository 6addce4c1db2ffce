"""The exact decoder with a GPU: NVDEC decodes the pictures, all else is as in pipelines.media.decoders.pyav.

Nobody can vouch for a rented machine's driver, so NVDEC proves itself in each process before it is used, by the very
way its frames are read. It is only given files that tell which frames must come out. Whatever it fails at, at once or
amid a file, the CPU decodes instead, from the frame after the last one given.

What it cannot do: the CPU's decoders notice rubbish inside a picture, NVDEC conceals it. Damage to the container, to
packets' headers and to references is found either way.
"""

import ctypes
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from numpy.typing import NDArray

from pipelines.errors import MediaError
from pipelines.media.container import open_video
from pipelines.media.decoders.contract import Decoder, FrameRequest
from pipelines.media.decoders.packets import Lost, PacketReader
from pipelines.media.decoders.pyav import PyAvDecoder, packets_are_true
from pipelines.media.decoders.wanted_frames import Inexact, Picture
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import EveryFrame, FramesPerSecond, Segment, ShownFrame

_log = logging.getLogger(__name__)
# FFmpeg loads these when it opens a GPU. The second comes into a container only if it may decode video.
_LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1")
_CLIP_FRAMES, _CLIP_FPS, _CLIP_SIZE = 24, 24, (180, 320)  # no multiple of 16: the GPU's padding must not show
_MEAN_DIFFERENCE = 4.0  # levels of 255. The pictures are equal; their chroma is interpolated in another layout.


class GpuDecoder(PyAvDecoder):
    """NVDEC and nothing else. Raises MediaError where it fails."""

    name = "nvdec"

    def _pictures(
        self, uri: str, requests: Sequence[FrameRequest], given: ShownFrame | None = None
    ) -> Iterator[Picture]:
        try:
            with self._opened(uri) as reader:
                if not packets_are_true(reader.video):
                    raise MediaError(uri, f"{reader.video.format} does not tell which frames must come out")
                yield from self._sampled(reader, requests, given)
        except (Inexact, Lost):
            raise MediaError(uri, "a wanted frame did not come out") from None

    @contextmanager
    def _opened(self, uri: str) -> Iterator[PacketReader]:
        """The file, with a decoder on the GPU, which raises what it cannot decode, and hands frames down as NV12."""
        with open_video(uri, HWAccel("cuda", allow_software_fallback=False)) as video:
            if not video.stream.codec_context.is_hwaccel:
                raise MediaError(uri, f"FFmpeg has no NVDEC for {video.stream.codec_context.name}")
            yield self._reader(video)


class NvdecDecoder(GpuDecoder):
    """NVDEC where it has proved itself and as long as it works, else the CPU. `on_fallback` is told why."""

    def __init__(self, on_fallback: Callable[[str], None] = _log.warning, **options: Any) -> None:
        super().__init__(**options)
        self._on_fallback = on_fallback

    def _pictures(
        self, uri: str, requests: Sequence[FrameRequest], given: ShownFrame | None = None
    ) -> Iterator[Picture]:
        objection = nvdec_objection()
        if not objection:
            try:
                for picture in super()._pictures(uri, requests, given):
                    given = picture.shown
                    yield picture
                return
            except (MediaError, RuntimeError) as error:  # RuntimeError: PyAV's, no stream is for the GPU
                objection = error.cause if isinstance(error, MediaError) else str(error)
        since = f" after {given.time_s:.3f} s" if given else ""
        self._on_fallback(f"decoded by the CPU{since}, not by NVDEC: {objection}")
        yield from PyAvDecoder._pictures(self, uri, requests, given)


@cache
def nvdec_objection() -> str:
    """Why this process cannot rely on NVDEC; "" if it can. Found out once: it decodes a clip made for that."""
    for library in _LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            return f"no {library} (NVIDIA's driver; containers need NVIDIA_DRIVER_CAPABILITIES with compute and video)"
    return prove(GpuDecoder(), PyAvDecoder())


def prove(hardware: Decoder, software: Decoder) -> str:
    """What is wrong with the hardware decoder, by a clip of H.264 with B-frames, read whole and skipping groups."""
    with _clip() as uri:
        for sampling in (EveryFrame(), FramesPerSecond(2)):
            request = FrameRequest(Segment(0, 0.0, _CLIP_FRAMES / _CLIP_FPS, last=True), sampling, _CLIP_SIZE)
            try:
                theirs = _whole(hardware, uri, request)
            except (MediaError, RuntimeError) as error:
                return f"it cannot decode a small clip: {error.__cause__ or getattr(error, 'cause', error)}"
            ours = _whole(software, uri, request)
            if len(theirs) != len(ours):
                return f"it gave {len(theirs)} frames of a small clip instead of {len(ours)}"
            if theirs.indices.tolist() != ours.indices.tolist() or theirs.times_s.tolist() != ours.times_s.tolist():
                return "it gave a small clip's frames other times or numbers"
            apart = np.abs(theirs.pixels.astype(np.int16) - ours.pixels).mean(axis=(1, 2, 3)).max()
            if apart > _MEAN_DIFFERENCE:
                return f"it gave other pictures of a small clip: {apart:.1f} levels from the CPU's"
    return ""


def _whole(decoder: Decoder, uri: str, request: FrameRequest) -> FrameBatch:
    nothing = FrameBatch(np.empty((0, *request.size, 3), np.uint8), np.empty(0), np.empty(0, np.int64))
    batches = [nothing, *(batch for _, batch in decoder.read(uri, [request], _CLIP_FRAMES))]
    pixels, times_s, indices = ([getattr(b, name) for b in batches] for name in ("pixels", "times_s", "indices"))
    return FrameBatch(np.concatenate(pixels), np.concatenate(times_s), np.concatenate(indices))


@contextmanager
def _clip() -> Iterator[str]:
    """The address of a second of video in memory, every picture unlike all others, in groups of six."""
    handle = os.memfd_create("clip")
    try:
        with av.open(f"/proc/self/fd/{handle}", "w", format="mp4") as container:
            options = {"g": "6", "bf": "2", "preset": "veryfast", "x264-params": "scenecut=0:b-adapt=0"}
            stream: Any = container.add_stream("libx264", rate=_CLIP_FPS, options=options)
            (stream.height, stream.width), stream.pix_fmt = _CLIP_SIZE, "yuv420p"
            for number in range(_CLIP_FRAMES):
                frame = av.VideoFrame.from_ndarray(_picture(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, _CLIP_FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _picture(number: int) -> NDArray[np.uint8]:
    height, width = _CLIP_SIZE
    slopes = np.add.outer(np.arange(height), np.arange(width))
    return np.stack([(slopes * step // 4 + 37 * number) % 256 for step in (1, 2, 3)], axis=-1).astype(np.uint8)
