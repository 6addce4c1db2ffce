"""Which files are meant by a path, a folder, a prefix in an object store, or a manifest."""

from collections.abc import Iterator, Sequence
from os.path import abspath

from pyarrow import fs

from pipelines.errors import MediaError

_SUFFIXES = "mp4 m4v mov mkv webm avi ts m2ts mts mpg mpeg flv ogv wmv 3gp mxf"
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split(" "))


def list_media(inputs: Sequence[str]) -> tuple[str, ...]:
    """The media URIs meant, without repeats: files as given, folders' and prefixes' videos, sorted.

    A .txt file is a manifest: one path or URI a line, taken as it is; blank lines and those with # do not count.
    Raises MediaError for one that names nothing.
    """
    return tuple(dict.fromkeys(uri for given in inputs for uri in _list_one(given)))


def _list_one(uri: str) -> Iterator[str]:
    if uri.startswith(("http://", "https://")):
        yield uri
        return
    filesystem, path, scheme = _open(uri)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File and info.extension.lower() == "txt":
        with filesystem.open_input_stream(path) as stream:
            lines = (line.strip() for line in stream.read().decode().splitlines())
        yield from (line for line in lines if line and not line.startswith("#"))
        return
    if info.type == fs.FileType.File:
        yield uri
        return
    selector = fs.FileSelector(path.rstrip("/"), recursive=True, allow_not_found=True)
    found = sorted(i.path for i in filesystem.get_file_info(selector) if _is_video(i))
    if not found:
        raise MediaError(uri, "no such file, and no videos below it")
    yield from (scheme + name for name in found)


def _open(uri: str) -> tuple[fs.FileSystem, str, str]:
    if "://" not in uri:
        return fs.LocalFileSystem(), abspath(uri), ""
    filesystem, path = fs.FileSystem.from_uri(uri)
    return filesystem, path, "" if uri.startswith("file://") else uri.partition("://")[0] + "://"


def _is_video(info: fs.FileInfo) -> bool:
    return info.type == fs.FileType.File and info.extension.lower() in VIDEO_SUFFIXES
