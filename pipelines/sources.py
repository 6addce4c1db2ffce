"""What a media file is, before anything is paid for. Files of strangers: see `pipelines.isolation`."""

import os
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.errors import MediaError

_CUT_POINTS_APART_S = 10.0
_INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")


@dataclass(frozen=True)
class MediaInfo:
    """A video file's header. Width and height are as displayed, in pixels, after rotation.

    `rotation_deg` is what has to be applied, counter-clockwise (0, 90, 180, 270); `average_fps` is 0 if unknown.
    `cut_points_s`: where the container's index has keyframes, at most one every ten seconds; for `plan_segments`.
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


def probe(uri: str) -> MediaInfo:
    """Read a file's header and decode its first frame. Raises MediaError if either cannot be done."""
    from pipelines.container import open_video  # noqa: PLC0415

    with open_video(uri) as video:
        frame = next(video.container.decode(video.stream), None)
        if frame is None:
            raise MediaError(uri, "no frame can be decoded")
        rotation = round(frame.rotation) % 360
        width, height = _displayed_size(frame, video.stream.sample_aspect_ratio, rotation)
        average_fps = float(video.stream.average_rate or 0)
        duration_s = video.stream_duration_s or video.container_duration_s or _scanned_duration_s(uri)
        return MediaInfo(
            uri=uri,
            container=video.format,
            codec=video.stream.codec_context.name,
            width=width,
            height=height,
            rotation_deg=rotation,
            duration_s=max(duration_s, 1 / (average_fps or 25.0)),
            average_fps=average_fps,
            has_audio=len(video.container.streams.audio) > 0,
            cut_points_s=_cut_points_s(video.stream),
        )


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


def _scanned_duration_s(uri: str) -> float:
    """The duration by reading all packets: for streams whose header was never completed."""
    from pipelines.container import open_video  # noqa: PLC0415

    with open_video(uri) as video:
        times = [p.pts for p in video.container.demux(video.stream) if p.size and p.pts is not None]
        if not times:
            return 0.0
        spacing = (max(times) - min(times)) / max(1, len(times) - 1)
        return float((max(times) - min(times) + spacing) * float(video.stream.time_base))


def reader_environment(uri: str = "s3://") -> dict[str, str]:
    """A reader's environment: no secrets but the access to its media, for it runs FFmpeg on a stranger's file."""
    names = [*_INHERITED, *(n for n in os.environ if n.startswith("AWS_") and uri.startswith("s3://"))]
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
