"""From a file to frames: the decoders' contract, and which decoder may be trusted with which file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.frames import FrameBatch
from pipelines.sampling import EveryFrame, Sampling, Segment
from pipelines.sources import MediaInfo

# decord keeps times as float32: beyond this they blur into each other.
_DECORD_MAX_DURATION_S = 4000.0


@dataclass(frozen=True)
class FrameRequest:
    """Frames wanted from one pass over a file: which slice, which frames of it, at which (height, width)."""

    segment: Segment
    sampling: Sampling
    size: tuple[int, int]


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


def choose_decoder(info: MediaInfo, sampling: Sampling) -> tuple[Decoder, str]:
    """The cheapest decoder that is right for this file, and why. Correctness first.

    decord gives wrong frames, silently, where a file has edit lists (MP4, MOV), an open GOP (H.264, HEVC), or is
    MPEG-TS; it knows no AV1 and does not rotate, and no header tells these cases apart. VP8/VP9 in WebM has none.
    """
    from pipelines.decode_decord import DecordDecoder, decord_is_installed  # noqa: PLC0415
    from pipelines.decode_pyav import PyAvDecoder  # noqa: PLC0415

    if not isinstance(sampling, EveryFrame):
        return PyAvDecoder(), "a sample of the frames: PyAV is exact"
    if objection := _objection_to_decord(info):
        return PyAvDecoder(), objection
    if not decord_is_installed():
        return PyAvDecoder(), "decord is not installed"
    return DecordDecoder(), "every frame of VP8/VP9 in WebM: decord is right and cheapest"


def _objection_to_decord(info: MediaInfo) -> str:
    if "://" in info.uri and not info.uri.startswith("file://"):
        return "a remote file: decord reads local files only"
    if "matroska" not in info.container:
        return f"{info.container.split(',')[0]} may have edit lists or inexact seeking: decord would be silently wrong"
    if info.codec not in ("vp8", "vp9"):
        return f"{info.codec} may have open GOPs, or is unknown to decord"
    if info.rotation_deg or info.duration_s > _DECORD_MAX_DURATION_S:
        return "decord does not rotate, and blurs the times of long files"
    return ""
