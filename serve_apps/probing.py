"""What a media item is, before anything is paid for: a picture by its first bytes, everything else by its header."""

from collections.abc import Callable
from pathlib import Path

from pipelines.http_file import open_http
from pipelines.sources import MediaInfo
from serve_apps.media_types import sniff

_HEAD_BYTES = 4096
# A picture is one frame: a segment of this length, in seconds, is all of it.
PICTURE_S = 0.04
PICTURE = "picture"
Probe = Callable[[str], MediaInfo]


def is_picture(info: MediaInfo) -> bool:
    """Whether the media item is a picture."""
    return info.container == PICTURE


def probe_media(uri: str, probe: Probe) -> MediaInfo:
    """The media's header; `probe` reads those of videos. Raises MediaError.

    A picture is not decoded here, so its size stays 0: whoever analyses it will see.
    """
    kind = sniff(_head(uri)) or ""
    if not kind.startswith("image/") or kind == "image/gif":
        return probe(uri)
    return MediaInfo(uri, PICTURE, kind.removeprefix("image/"), 0, 0, 0, PICTURE_S, 0.0, has_audio=False)


def _head(uri: str) -> bytes:
    """The first bytes; none where they cannot be read so: then the prober says why."""
    try:
        if uri.startswith(("http://", "https://")):
            with open_http(uri) as remote:
                return remote.read(_HEAD_BYTES)
        if "://" not in uri or uri.startswith("file://"):
            with Path(uri.removeprefix("file://")).open("rb") as file:
                return file.read(_HEAD_BYTES)
    except OSError:
        return b""
    return b""
