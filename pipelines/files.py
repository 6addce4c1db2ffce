"""Files and object stores: opened by one address, and written as a whole or not at all."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def filesystem_of(uri: str) -> tuple[Any, str]:
    """The pyarrow FileSystem of a path or URI, and the path in it without a slash at its end.

    Raises OSError or ValueError for an address that pyarrow cannot open.
    """
    from pyarrow import fs  # noqa: PLC0415 - a fifth of a second that a process without files need not spend

    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(uri)
    filesystem, path = fs.FileSystem.from_uri(uri)
    return filesystem, path.rstrip("/")


def write_atomically(path: Path, pieces: Iterable[bytes | memoryview], mode: int = 0o644) -> None:
    """Write a file that is there as a whole or not at all, also after a power cut, whoever else writes it meanwhile.

    Folders are made as needed. An error of `pieces` is raised, and the file is as it was. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # only its owner may read it
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
