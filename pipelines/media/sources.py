"""What a media file is, before anything is paid for. Files of strangers: see `pipelines.media.isolation`."""

import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import MediaError, MediaUnavailable, NoAudio, NoVideo, Unavailable
from pipelines.media.addresses import LocalFile, MediaAddress, WebAddress, read_address
from pipelines.media.media_types import sniff

_CUT_POINTS_APART_S = 10.0
_HEAD_BYTES = 4096
# A claim of more seconds than this is checked: 16 bytes are a tenth of what a still screen takes for a second.
_FEWEST_BYTES_PER_S = 16
# So long may one packet stand for, such as a slide that is shown while somebody talks.
_LONGEST_PACKET_S = 600.0
# A picture is one frame: a segment of this length, in seconds, is all of it.
PICTURE_S = 0.04
# What Pillow may try: formats whose readers are in wide use. Others (PDF, PS, FITS ...) have no business here.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")


@dataclass(frozen=True)
class MediaInfo:
    """A media file's header. Width and height are as displayed, in pixels, after rotation; 0 where there is no video.

    `kind` "audio" is sound alone, whatever the container; a "picture" has no size before it is decoded.
    `rotation_deg` is what has to be applied, counter-clockwise (0, 90, 180, 270); `average_fps` is 0 if unknown.
    `cut_points_s`: where the container's index has keyframes, at most one every ten seconds; for `plan_segments`.
    `origin_pts`: when the first frame is shown, in ticks of its stream: times count from there. None: unknown.
    """

    uri: str
    container: str
    codec: str
    width: int
    height: int
    rotation_deg: int
    duration_s: float
    average_fps: float
    has_audio: bool
    cut_points_s: tuple[float, ...] = ()
    kind: Literal["video", "audio", "picture"] = "video"
    origin_pts: int | None = None

    def without_cut_points(self) -> "MediaInfo":
        """What a segment's task needs, once the segments are planned."""
        return replace(self, cut_points_s=())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "MediaInfo":
        """The inverse of `to_dict`."""
        return cls(**(data | {"cut_points_s": tuple(data.get("cut_points_s", ()))}))


def probe(uri: str, most_pixels: int = 0) -> MediaInfo:
    """Read a file's header and decode its first frame, or its first sound where it has no video.

    Frames of more than `most_pixels` are not decoded; 0: no limit. Raises MediaError if either cannot be done.
    """
    try:
        return _probe_video(uri, most_pixels)
    except NoVideo:
        try:
            return _probe_sound(uri)
        except NoAudio:
            raise MediaError(uri, "neither a video nor an audio stream") from None


def _probe_video(uri: str, most_pixels: int) -> MediaInfo:
    from pipelines.media.container import open_video  # noqa: PLC0415

    with open_video(uri) as video:
        if most_pixels:
            _limit_frames(uri, video.stream.codec_context, most_pixels)
        frame = next(video.container.decode(video.stream), None)
        if frame is None:
            raise MediaError(uri, "no frame can be decoded")
        rotation = round(frame.rotation) % 360
        width, height = _displayed_size(frame, video.stream.sample_aspect_ratio, rotation)
        average_fps = float(video.stream.average_rate or 0)
        claimed_s = video.stream_duration_s or video.container_duration_s
        duration_s = _believed_duration_s(open_video, uri, claimed_s, video.container.size)
        return MediaInfo(
            uri=uri,
            container=video.format,
            codec=video.stream.codec_context.name,
            width=width,
            height=height,
            rotation_deg=rotation,
            duration_s=max(duration_s, min(1 / (average_fps or 25.0), _LONGEST_PACKET_S)),
            average_fps=average_fps,
            has_audio=len(video.container.streams.audio) > 0,
            cut_points_s=_cut_points_s(video.stream),
            origin_pts=None if frame.is_corrupt else frame.pts,
        )


def _probe_sound(uri: str) -> MediaInfo:
    from pipelines.media.container import open_audio  # noqa: PLC0415

    with open_audio(uri) as audio:
        if not any(_decodes(packet) for packet in audio.container.demux(audio.stream)):
            raise MediaError(uri, "no sound can be decoded")
        duration_s = _believed_duration_s(open_audio, uri, audio.duration_s, audio.container.size)
        return MediaInfo(
            uri=uri,
            container=audio.format,
            codec=audio.stream.codec_context.name,
            width=0,
            height=0,
            rotation_deg=0,
            duration_s=max(duration_s, 0.001),
            average_fps=0.0,
            has_audio=True,
            kind="audio",
        )


def _decodes(packet: Any) -> bool:
    """Whether sound comes of it. The first ones of a recording cut from a longer one may give none."""
    import av.error  # noqa: PLC0415

    try:
        return len(packet.decode()) > 0
    except av.error.FFmpegError:
        return False


def picture_info(uri: str, head: bytes) -> MediaInfo | None:
    """What a picture that begins with these bytes is; None for what is none (an animated GIF is a video).

    Nothing is decoded: whoever analyses it will see. Raises MediaError for pictures of a format that is not read.
    """
    kind, _, form = (sniff(head) or "").partition("/")
    if kind != "image" or form == "gif":
        return None
    if form.upper() not in PICTURE_FORMATS:
        raise MediaError(uri, f"{form.upper()} pictures are not read; {', '.join(PICTURE_FORMATS)} are")
    return MediaInfo(uri, "picture", form, 0, 0, 0, PICTURE_S, 0.0, has_audio=False, kind="picture")


def read_head(uri: str) -> bytes:
    """A file's first bytes; none where they cannot be read so: then probing says why. Raises MediaUnavailable."""
    try:
        with open_bytes(read_address(uri)) as file:
            return bytes(file.read(_HEAD_BYTES))
    except Unavailable as error:
        raise MediaUnavailable(uri, str(error)) from None
    except (OSError, ValueError):
        return b""


def open_bytes(address: MediaAddress) -> Any:
    """The file's bytes from the first one on. Raises OSError, Unavailable where the same may succeed later."""
    if isinstance(address, LocalFile):
        return Path(address.path).open("rb")
    if isinstance(address, WebAddress):
        from pipelines.media.http_file import open_http  # noqa: PLC0415 - a client that local files do not need

        return open_http(address)
    from pyarrow import fs  # noqa: PLC0415

    filesystem, path = fs.FileSystem.from_uri(address.to_text())
    return filesystem.open_input_stream(path, compression=None)


def _cut_points_s(stream: Any) -> tuple[float, ...]:
    """Keyframe times from the container's index, thinned: a hint of where decoding may start for free."""
    points: list[float] = []
    first: int | None = None
    for entry in stream.index_entries:
        if first is None and not entry.is_discard:
            first = entry.timestamp  # decoding times: keyframes are all shown equally long after theirs
        time_s = float((entry.timestamp - (first or 0)) * stream.time_base)
        if first is not None and entry.is_keyframe and time_s >= (points[-1] if points else 0) + _CUT_POINTS_APART_S:
            points.append(time_s)
    return tuple(points)


def _displayed_size(frame: Any, pixel_aspect: Any, rotation: int) -> tuple[int, int]:
    width = round(frame.width * float(pixel_aspect or 1))
    return (frame.height, width) if rotation % 180 else (width, frame.height)


def _limit_frames(uri: str, codec: Any, most_pixels: int) -> None:
    """Refuse what the header says to be larger; what it hides, the decoder refuses. One frame at a time is decoded."""
    if codec.width * codec.height > most_pixels:
        raise MediaError(uri, f"frames of {codec.width}x{codec.height} pixels; at most {most_pixels} pixels are read")
    codec.options = {"max_pixels": str(most_pixels)}
    codec.thread_count = 1


def _believed_duration_s(opened: Any, uri: str, claimed_s: float | None, size_bytes: int) -> float:
    """What the file says, unless it has too few bytes for that: then, and where it says nothing, what is in it."""
    if claimed_s and not 0 < size_bytes < claimed_s * _FEWEST_BYTES_PER_S:
        return claimed_s
    scanned_s, packets = _scanned(opened, uri)
    return min(scanned_s, packets * _LONGEST_PACKET_S)


def _scanned(opened: Any, uri: str) -> tuple[float, int]:
    """The duration by reading all packets, and their number."""
    with opened(uri) as media:
        times = [p.pts for p in media.container.demux(media.stream) if p.size and p.pts is not None]
        if not times:
            return 0.0, 0
        spacing = (max(times) - min(times)) / max(1, len(times) - 1)
        return float((max(times) - min(times) + spacing) * float(media.stream.time_base)), len(times)


def reader_environment(credentials: bool) -> dict[str, str]:
    """A reader's environment: no secrets, for it runs FFmpeg on a stranger's file; at most what opens s3:// media."""
    names = [*_INHERITED, *(n for n in os.environ if credentials and n.startswith("AWS_"))]
    kept = {name: os.environ[name] for name in names if name in os.environ}
    # No decoder uses BLAS, whose threads would reserve memory for each core.
    return kept | {"OPENBLAS_NUM_THREADS": "1"} | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
