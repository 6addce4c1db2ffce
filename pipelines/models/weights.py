"""Where trained weights come from: a pip package, this machine, or an object store; checked, and kept once fetched."""

import hashlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from pyarrow import fs

from pipelines.files import filesystem_of, write_atomically

_CACHE = Path("~/.cache/aima/weights")
_PIECE_BYTES = 1 << 20


class WeightsError(Exception):
    """A model's weights are missing or are not what they should be; the message says which file and why."""


def package_file(module: str, *parts: str, sha256: str | None = None) -> Path:
    """A file inside an installed package (which is not imported). Raises WeightsError."""
    spec = find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *parts)
        if path.is_file():
            return _verified(path, sha256)
    raise WeightsError(f"{module} is not installed, or has no {'/'.join(parts)}")


def weights_file(source: str, cache: Path = _CACHE) -> Path:
    """The local file of "PATH", "s3://BUCKET/KEY", or either with "#sha256=HEX" behind it. Raises WeightsError.

    What comes from an object store is kept in `cache` under its size and date, so that a new version is fetched anew.
    """
    location, _, fragment = source.partition("#")
    sha256 = fragment.removeprefix("sha256=") or None
    if "://" not in location:
        path = Path(location).expanduser()
        if not path.is_file():
            raise WeightsError(f"{location}: no such file")
        return _verified(path, sha256)
    return _fetched(location, sha256, cache.expanduser())


def sha256_of(path: Path) -> str:
    """The checksum of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _verified(path: Path, sha256: str | None) -> Path:
    if sha256 and (actual := sha256_of(path)) != sha256.lower():
        raise WeightsError(f"{path}: its SHA-256 is {actual}, not {sha256}")
    return path


def _fetched(location: str, sha256: str | None, cache: Path) -> Path:
    try:
        filesystem, key = filesystem_of(location)
        info = filesystem.get_file_info(key)
        if info.type != fs.FileType.File:
            raise WeightsError(f"{location}: no such object")
        state = hashlib.sha256(f"{location} {info.size} {info.mtime_ns}".encode()).hexdigest()[:16]
        target = cache / f"{state}-{info.base_name}"
        if not target.is_file():
            with filesystem.open_input_stream(key) as stream:
                _store(target, iter(lambda: stream.read(_PIECE_BYTES), b""), sha256)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{location}: {error}") from error
    return _verified(target, sha256)


def _store(target: Path, pieces: Iterable[bytes], sha256: str | None) -> None:
    """Write the file if it has this checksum. Several processes may do it at once."""
    write_atomically(target, _checked(target.name, pieces, sha256))


def _checked(name: str, pieces: Iterable[bytes], sha256: str | None) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if sha256 and digest.hexdigest() != sha256.lower():
        raise WeightsError(f"{name}: its SHA-256 is {digest.hexdigest()}, not {sha256}")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
