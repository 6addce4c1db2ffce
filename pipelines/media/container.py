"""Opening a media file with FFmpeg, safely: the only place where a URI meets it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
import av.error
from av.codec.hwaccel import HWAccel

from pipelines.errors import MediaError, NoAudio, NoVideo, unreadable
from pipelines.media.addresses import AddressRefused, MediaAddress, StoredObject, WebAddress, read_address

_OPEN_TIMEOUT_S = 20.0
_READ_TIMEOUT_S = 60.0
_OBJECT_READ_BYTES = 1 << 20  # each read is a request
# What FFmpeg may open on behalf of a file. Playlists (hls, dash, concat) are left out on purpose: a playlist in an
# upload could name local files or internal addresses.
_FORMATS = (
    "mov,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,ogg,asf,h264,hevc,av1,obu,ivf,m4v,mjpeg,mxf,gif,dv,wtv,rm,"
    "wav,mp3,aac,flac,aiff,amr,ac3"
)


@dataclass(frozen=True)
class OpenVideo:
    """An open container and its video stream (PyAV's objects)."""

    uri: str
    container: Any
    stream: Any

    @property
    def format(self) -> str:
        """FFmpeg's name of the container format, e.g. "mov,mp4,m4a,3gp,3g2,mj2"."""
        return str(self.container.format.name)

    @property
    def stream_duration_s(self) -> float | None:
        """How long the video stream itself says it is; None where only the container says anything."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        if tag := self.stream.metadata.get("DURATION"):  # Matroska: "00:01:02.345000000"
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
            begins_s = float((self.stream.start_time or 0) * self.stream.time_base)
            return hours * 3600 + minutes * 60 + seconds - max(0.0, begins_s)  # it tells the end, not the length
        alone = len(self.container.streams) == 1
        return self.container_duration_s if alone else None

    @property
    def container_duration_s(self) -> float | None:
        """How long the container says it is, all streams taken together."""
        return self.container.duration / av.time_base if self.container.duration else None


@dataclass(frozen=True)
class OpenAudio:
    """An open container and its first audio stream (PyAV's objects); `zero_s` is the container's time of our zero."""

    uri: str
    container: Any
    stream: Any
    zero_s: float

    @property
    def format(self) -> str:
        """FFmpeg's name of the container format."""
        return str(self.container.format.name)

    @property
    def duration_s(self) -> float | None:
        """How long it says it is; None where neither stream nor container say anything."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / av.time_base if self.container.duration else None


@contextmanager
def open_audio(uri: str) -> Iterator[OpenAudio]:
    """Open the first audio stream of a local path, file://, http(s):// or s3:// URI.

    Times count from the first frame where there is a picture, else from the first sample. Raises NoAudio and
    other MediaError, as `open_video` does.
    """
    try:
        with _open(uri) as container:
            if not container.streams.audio:
                raise NoAudio(uri, "no audio stream")
            stream = container.streams.audio[0]
            timed = next(iter(_real_video_streams(container)), stream)
            zero_s = float((timed.start_time or 0) * (timed.time_base or 0))
            yield OpenAudio(uri, container, stream, zero_s)
    except (av.error.FFmpegError, OSError) as error:
        raise unreadable(uri, explain(error), error) from error


@contextmanager
def open_video(uri: str, hwaccel: HWAccel | None = None) -> Iterator[OpenVideo]:
    """Open the first real video stream of a local path, file://, http(s):// or s3:// URI.

    `hwaccel`: what decodes its pictures instead of the CPU. Raises NoVideo and other MediaError; errors of FFmpeg
    inside the `with` block become MediaError too.
    """
    try:
        with _open(uri, hwaccel) as container:
            streams = _real_video_streams(container)
            if not streams:
                raise NoVideo(uri, "no video stream")
            yield OpenVideo(uri, container, streams[0])
    except (av.error.FFmpegError, OSError) as error:
        raise unreadable(uri, explain(error), error) from error


def explain(error: Exception) -> str:
    """FFmpeg's error in words a user understands."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, av.error.EOFError):
        return "ends before its first frame"
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return "not a media file that can be read, or cut off"
    if isinstance(error, av.error.ExitError):
        return f"no answer within {_READ_TIMEOUT_S:.0f} s"
    return getattr(error, "strerror", None) or str(error)


def _real_video_streams(container: Any) -> list[Any]:
    from av.stream import Disposition  # noqa: PLC0415

    # A cover in an audio file is no video.
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _open(uri: str, hwaccel: HWAccel | None = None) -> Any:
    options = {"format_whitelist": _FORMATS}
    address = _address(uri)
    if isinstance(address, StoredObject):
        return av.open(_object_store_file(address), options=options, buffer_size=_OBJECT_READ_BYTES, hwaccel=hwaccel)
    if isinstance(address, WebAddress):
        # Not opened by FFmpeg: it would go wherever it is sent.
        from pipelines.media.http_file import open_http  # noqa: PLC0415 - half the start of a process for local files

        return av.open(open_http(address), options=options, hwaccel=hwaccel)
    options["protocol_whitelist"] = "file"
    timeouts = (_OPEN_TIMEOUT_S, _READ_TIMEOUT_S)
    return av.open("file:" + _checked_path(uri, address.path), options=options, timeout=timeouts, hwaccel=hwaccel)


def _address(uri: str) -> MediaAddress:
    try:
        return read_address(uri)
    except AddressRefused as error:
        raise MediaError(uri, str(error)) from None


def _checked_path(uri: str, path: str) -> str:
    if os.path.isdir(path):
        raise MediaError(uri, "is a folder")
    if os.path.exists(path) and os.path.getsize(path) == 0:
        raise MediaError(uri, "the file is empty")
    return path


def _object_store_file(address: StoredObject) -> Any:
    from pyarrow import fs  # noqa: PLC0415

    filesystem, path = fs.FileSystem.from_uri(address.to_text())
    return filesystem.open_input_file(path)
