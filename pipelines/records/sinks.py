"""Where results go: one Parquet file per segment, in a folder or an object store."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.files import filesystem_of, write_atomically
from pipelines.records.read_ahead import read_ahead

_FINISHED = b"task"
PART_TYPE = "application/vnd.apache.parquet"


def part_name(segment_index: int) -> str:
    """The file name of a segment's part."""
    return f"part-{segment_index:05d}.parquet"


def write_part(
    table: pa.Table,
    directory_uri: str,
    segment_index: int,
    provenance: Mapping[str, str] | None = None,
    put_url: str = "",
) -> str:
    """Write a segment's records, zstd-compressed, with `provenance` in the schema's metadata; returns the part's URI.

    Atomic: readers see all of it or nothing, even after a crash. Idempotent: a retried segment overwrites its part.
    `directory_uri` is a local path, file:// or s3://. A part with the key "task" in its provenance counts as finished.
    With `put_url` (a presigned URL of the same object), it is written there, without credentials of this machine.
    """
    metadata = {**(table.schema.metadata or {}), **{k.encode(): v.encode() for k, v in (provenance or {}).items()}}
    data = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), data, compression="zstd")
    if not put_url:
        return write_file(data.getvalue(), directory_uri, part_name(segment_index))
    # Not above: HTTP is a fifth of a second of every cold start, and batch jobs write with their own credentials.
    from pipelines.records.http_put import put_http  # noqa: PLC0415

    put_http(data.getvalue().to_pybytes(), put_url, PART_TYPE)
    return f"{directory_uri.rstrip('/')}/{part_name(segment_index)}"


def part_exists(directory_uri: str, segment_index: int) -> bool:
    """Whether a segment's part has been written, by whatever version."""
    filesystem, directory = filesystem_of(directory_uri)
    info = filesystem.get_file_info(f"{directory}/{part_name(segment_index)}")
    return bool(info.type == fs.FileType.File)


def finished_part(directory_uri: str, segment_index: int, task: str) -> Mapping[str, str] | None:
    """The provenance of a segment's part if it was finished for exactly this task, else None: it must be made (again).

    `task` says all that its records depend on: analyzer, version, options, media and slice. Reads the file's end only.
    """
    if not part_exists(directory_uri, segment_index):
        return None
    filesystem, directory = filesystem_of(directory_uri)
    try:
        with filesystem.open_input_file(f"{directory}/{part_name(segment_index)}") as file:
            metadata = pq.read_schema(file).metadata or {}
    except pa.ArrowInvalid:  # no Parquet file: somebody else's, or rotten
        return None
    if metadata.get(_FINISHED) != task.encode():
        return None
    return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW")}


def list_parts(directory_uri: str) -> list[str]:
    """The file names of all parts, ordered by segment."""
    filesystem, directory = filesystem_of(directory_uri)
    found = filesystem.get_file_info(fs.FileSelector(directory, allow_not_found=True))
    return sorted(i.base_name for i in found if i.base_name.startswith("part-") and i.base_name.endswith(".parquet"))


def read_parts(directory_uri: str) -> pa.Table:
    """All records, ordered by segment. Raises FileNotFoundError when there is no part yet."""
    names = list_parts(directory_uri)
    if not names:
        raise FileNotFoundError(f"no results in {directory_uri}")
    parts = read_ahead(lambda name: pq.read_table(pa.BufferReader(read_file(directory_uri, name))), names)
    return pa.concat_tables(parts)


def write_file(data: bytes | pa.Buffer, directory_uri: str, name: str) -> str:
    """Write a file as a whole or not at all; returns its URI."""
    filesystem, directory = filesystem_of(directory_uri)
    if isinstance(filesystem, fs.LocalFileSystem):
        write_atomically(Path(directory) / name, [memoryview(data)])
    else:  # an object appears when its upload completes
        with filesystem.open_output_stream(f"{directory}/{name}") as stream:
            stream.write(data)
    return f"{directory_uri.rstrip('/')}/{name}"


def read_file(directory_uri: str, name: str) -> bytes:
    """A file's bytes. Raises FileNotFoundError."""
    filesystem, directory = filesystem_of(directory_uri)
    with filesystem.open_input_stream(f"{directory}/{name}", compression=None) as stream:
        return bytes(stream.read())
