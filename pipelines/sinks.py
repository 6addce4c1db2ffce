"""Where results go: one Parquet file per segment, in a folder or an object store."""

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs


def part_name(segment_index: int) -> str:
    """The file name of a segment's part."""
    return f"part-{segment_index:05d}.parquet"


def write_part(table: pa.Table, directory_uri: str, segment_index: int) -> str:
    """Write a segment's records; returns the part's URI.

    Atomic: readers see all of it or nothing, even after a crash. Idempotent: a retried segment overwrites its part.
    `directory_uri` is a local path, file:// or s3://.
    """
    data = pa.BufferOutputStream()
    pq.write_table(table, data, compression="zstd")
    filesystem, directory = _open(directory_uri)
    name = part_name(segment_index)
    if isinstance(filesystem, fs.LocalFileSystem):
        _write_local(Path(directory), name, data.getvalue())
    else:  # an object appears when its upload completes
        with filesystem.open_output_stream(f"{directory}/{name}") as stream:
            stream.write(data.getvalue())
    return f"{directory_uri.rstrip('/')}/{name}"


def part_exists(directory_uri: str, segment_index: int) -> bool:
    """Whether a segment's part has been written."""
    filesystem, directory = _open(directory_uri)
    info = filesystem.get_file_info(f"{directory}/{part_name(segment_index)}")
    return bool(info.type == fs.FileType.File)


def read_parts(directory_uri: str) -> pa.Table:
    """All records, ordered by segment. Raises FileNotFoundError when there is no part yet."""
    filesystem, directory = _open(directory_uri)
    found = filesystem.get_file_info(fs.FileSelector(directory, allow_not_found=True))
    paths = sorted(i.path for i in found if i.base_name.startswith("part-") and i.base_name.endswith(".parquet"))
    if not paths:
        raise FileNotFoundError(f"no results in {directory_uri}")
    tables = []
    for path in paths:
        with filesystem.open_input_file(path) as file:
            tables.append(pq.read_table(file))
    return pa.concat_tables(tables)


def _open(directory_uri: str) -> tuple[fs.FileSystem, str]:
    if "://" not in directory_uri:
        return fs.LocalFileSystem(), os.path.abspath(directory_uri)
    filesystem, directory = fs.FileSystem.from_uri(directory_uri)
    return filesystem, directory.rstrip("/")


def _write_local(directory: Path, name: str, data: pa.Buffer) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, directory / name)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync(directory)


def _sync(directory: Path) -> None:
    """Make the new name survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
