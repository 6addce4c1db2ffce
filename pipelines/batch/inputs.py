"""Which files are meant by a path, a folder, a prefix in an object store, or a manifest."""

from collections.abc import Iterator, Sequence

from pyarrow import fs

from pipelines.errors import MediaError
from pipelines.files import filesystem_of
from pipelines.media.addresses import AddressRefused, LocalFile, MediaAddress, WebAddress, read_address, trusted

_NAMED = {
    "video": "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts webm wmv",
    "audio": "aac ac3 aif aiff amr flac m4a mka mp3 oga ogg opus wav wma",
    "images": "bmp gif jpeg jpg png tif tiff webp",
}
_SUFFIXES = {kind: set(named.split(" ")) for kind, named in _NAMED.items()}
# A job on sound takes the videos of a folder too: for what is said in them.
_SUFFIXES["audio"] |= _SUFFIXES["video"]
_CALLED = {"video": "videos", "audio": "recordings or videos", "images": "pictures"}


def list_media(inputs: Sequence[str], kind: str = "video", private_hosts: bool = False) -> tuple[str, ...]:
    """The media URIs meant, without repeats: files as given; of folders and prefixes those of the kind, sorted.

    A .txt file is a manifest: one path or URI a line, taken as it is; blank lines and those with # do not count.
    `private_hosts`: URLs may lead into a private network. Raises MediaError for one that names nothing.
    """
    found = dict.fromkeys(uri for given in inputs for uri in _list_one(given, kind))
    return tuple(map(_trusted, found) if private_hosts else found)


def _trusted(uri: str) -> str:
    try:
        return trusted(uri)
    except AddressRefused:
        return uri  # its own error, when it is read


def _list_one(uri: str, kind: str) -> Iterator[str]:
    if isinstance(_address(uri), WebAddress):
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
    found = sorted(i.path for i in filesystem.get_file_info(selector) if _is_media(i, _SUFFIXES[kind]))
    if not found:
        raise MediaError(uri, f"no such file, and no {_CALLED[kind]} below it")
    yield from (scheme + name for name in found)


def _open(uri: str) -> tuple[fs.FileSystem, str, str]:
    address = _address(uri)
    filesystem, path = filesystem_of(address.to_text())
    return filesystem, path, "" if isinstance(address, LocalFile) else "s3://"


def _address(uri: str) -> MediaAddress:
    try:
        return read_address(uri)
    except AddressRefused as error:
        raise MediaError(uri, str(error)) from None


def _is_media(info: fs.FileInfo, suffixes: set[str]) -> bool:
    return info.type == fs.FileType.File and info.extension.lower() in suffixes
