"""What a media item is, before anything is paid for: a picture by its first bytes, everything else by its header."""

from collections.abc import Callable

from pipelines.media.addresses import StoredObject, read_address
from pipelines.media.sources import MediaInfo, picture_info, read_head

Probe = Callable[[str], MediaInfo]


def probe_media(uri: str, probe: Probe) -> MediaInfo:
    """The media's header; `probe` reads those of videos and of sound, and objects of object stores. Raises MediaError.

    A picture is not decoded here, so its size stays 0: whoever analyses it will see.
    """
    picture = None if isinstance(read_address(uri), StoredObject) else picture_info(uri, read_head(uri))
    return picture or probe(uri)
