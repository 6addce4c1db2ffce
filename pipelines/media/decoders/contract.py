"""From a file to frames: the decoders' contract, and which decoder may be trusted with which file."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast

from pipelines.media.addresses import is_local
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import EveryFrame, FramesPerSecond, Sampling, Segment, ShownFrame
from pipelines.media.sources import MediaInfo

# decord keeps times as float32: beyond this they blur into each other.
_DECORD_MAX_DURATION_S = 4000.0
_BATCH_FRAMES, _BATCH_BYTES = 64, 16 << 20
DECODERS: dict[str, str] = {
    "pyav": "pipelines.media.decoders.pyav:PyAvDecoder",
    "decord": "pipelines.media.decoders.decord_frames:DecordDecoder",
    "nvdec": "pipelines.media.decoders.nvdec:NvdecDecoder",
}


@dataclass(frozen=True)
class NvdecRule:
    """Which files NVDEC is right for, and where it pays. Opening a file on the GPU costs a good part of a second.

    `codecs`: those that PyAV decodes on the GPU and NVDEC knows, by PyAV's names; AV1 is none of them: PyAV opens it
    with libdav1d, which knows no GPU. `containers`: in which every wanted frame's time is known before it is decoded,
    so that one which the GPU leaves out is noticed. The other figures are estimates from what the CPU does (512
    frames of 1280x720 a second, 125 of 1920x1080): they were never measured on a GPU, where `tests.benchmarks.decoding`
    compares both. Change them here.
    """

    codecs: frozenset[str] = frozenset({"h264", "hevc", "vp8", "vp9"})
    containers: tuple[str, ...] = ("mp4", "matroska")
    least_duration_s: float = 20.0
    every_frame_pixels: int = 960 * 540
    sampled_pixels: int = 1920 * 1080

    def objection(self, info: MediaInfo, samplings: Iterable[Sampling]) -> str:
        """Why this file is not for NVDEC; "" if it is."""
        if info.codec not in self.codecs:
            return f"it takes no {info.codec}"
        if not any(name in info.container for name in self.containers):
            return f"{info.container.split(',')[0]} does not tell which frames must come out"
        every = any(isinstance(sampling, EveryFrame) for sampling in samplings)
        small = info.width * info.height < (self.every_frame_pixels if every else self.sampled_pixels)
        return "too small to pay" if small or info.duration_s < self.least_duration_s else ""


NVDEC = NvdecRule()


@dataclass(frozen=True)
class FrameRequest:
    """Frames wanted from one pass over a file: which slice, which frames of it, at which (height, width).

    `origin_pts`: the file's, where it is known (see MediaInfo): who has to find out opens the file once more.
    """

    segment: Segment
    sampling: Sampling
    size: tuple[int, int]
    origin_pts: int | None = None

    def wants(self, frame: ShownFrame) -> bool:
        """Whether this frame is asked for."""
        return self.segment.contains(frame.time_s) and self.sampling.selects(frame)


class Decoder(Protocol):
    """Decodes one video file. Stateless: one object may serve many threads.

    Frames are upright RGB, in presentation order, timed from the stream's first frame, and the same whatever the
    segmentation. A file damaged midway gives its good frames first and raises MediaError (with `time_s`) then.
    """

    name: str

    def frames(
        self, uri: str, segment: Segment, sampling: Sampling, size: tuple[int, int], batch_size: int
    ) -> Iterator[FrameBatch]:
        """The segment's sampled frames, at most `batch_size` together. Raises MediaError."""
        ...

    def read(self, uri: str, requests: Sequence[FrameRequest], batch_size: int) -> Iterator[tuple[int, FrameBatch]]:
        """Several requests together: (number of the request, batch), each request's batches in order."""
        ...


def choose_decoder(
    info: MediaInfo,
    samplings: Sequence[Sampling],
    override: str = "",
    nvdec_objection: Callable[[], str] | None = None,
) -> tuple[str, str]:
    """The name of the cheapest decoder that is right for this file and all these samplings, and why.

    Correctness first: decord gives wrong frames, silently, where a file has edit lists (MP4, MOV), an open GOP (H.264,
    HEVC), or is MPEG-TS; it knows no AV1 and does not rotate, and no header tells these cases apart. VP8/VP9 in WebM
    has none. `override` names a decoder to use regardless. `nvdec_objection`, where hardware may decode, says why it
    cannot ("": it has proved itself); it is asked only about files for which that would pay. Raises ValueError for an
    unknown decoder.
    """
    if override:
        load_decoder(override)
        return override, "asked for"
    if nvdec_objection is None:
        return _choose_for_cpu(info, samplings)
    if not (objection := NVDEC.objection(info, samplings) or nvdec_objection()):
        return "nvdec", f"{info.codec} of {info.width}x{info.height}: this machine's NVDEC has proved itself"
    name, reason = _choose_for_cpu(info, samplings)
    return name, f"{reason}; not NVDEC: {objection}"


def _choose_for_cpu(info: MediaInfo, samplings: Iterable[Sampling]) -> tuple[str, str]:
    if any(not isinstance(sampling, EveryFrame) for sampling in samplings):
        return "pyav", "a sample of the frames: PyAV is exact and decodes least"
    if objection := _objection_to_decord(info):
        return "pyav", objection
    if find_spec("decord") is None:
        return "pyav", "decord is not installed"
    return "decord", "every frame of VP8/VP9 in WebM: decord is right and cheapest"


def load_decoder(name: str, **options: Any) -> Decoder:
    """The decoder of this name, in this process. Raises ValueError for an unknown one."""
    if name not in DECODERS:
        raise ValueError(f"unknown decoder {name!r}; choose from: {', '.join(DECODERS)}")
    module, _, kind = DECODERS[name].partition(":")
    return cast(Decoder, getattr(import_module(module), kind)(**options))


def frames_per_batch(size: tuple[int, int]) -> int:
    """How many frames of (height, width) travel together: at most 64, and 16 MiB."""
    height, width = size
    return max(1, min(_BATCH_FRAMES, _BATCH_BYTES // (height * width * 3)))


def batch_frames(requests: Sequence[FrameRequest]) -> int:
    """The same for several requests: no more than the smallest allows, nor than the largest is expected to have."""
    return min(*(frames_per_batch(r.size) for r in requests), max(map(_expected, requests)))


def _expected(request: FrameRequest) -> int:
    if not isinstance(request.sampling, FramesPerSecond):
        return _BATCH_FRAMES
    return math.ceil((request.segment.end_s - request.segment.start_s) * request.sampling.fps) + 1


def _objection_to_decord(info: MediaInfo) -> str:
    if not is_local(info.uri):
        return "a remote file: decord reads local files only"
    if "matroska" not in info.container:
        return f"{info.container.split(',')[0]} may have edit lists or inexact seeking: decord would be silently wrong"
    if info.codec not in ("vp8", "vp9"):
        return f"{info.codec} may have open GOPs, or is unknown to decord"
    if info.rotation_deg or info.duration_s > _DECORD_MAX_DURATION_S:
        return "decord does not rotate, and blurs the times of long files"
    return ""
