"""Results as they lie in storage, read back: rows for JSON, lines of NDJSON, one Parquet file."""

import io
import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.media.addresses import shown
from pipelines.records.read_ahead import read_ahead
from serve_apps.results.objects import Objects
from serve_apps.store.analysis_store import Analysis, Part


def tables(objects: Objects, parts: Sequence[Part]) -> Iterator[tuple[Part, pa.Table]]:
    """The parts with their records, in order, without those that have been erased meanwhile. A few are in memory."""
    for part, table in zip(parts, read_ahead(partial(_read, objects), parts), strict=True):
        if table is not None:
            yield part, table


def _read(objects: Objects, part: Part) -> pa.Table | None:
    try:
        return pq.read_table(io.BytesIO(objects.read(part.uri)))
    except FileNotFoundError:
        return None


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Its records as values that JSON knows."""
    return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


def plain(value: Any) -> Any:
    """A value of a record as JSON knows it; what JSON cannot say is null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, bytes) else str(value)


def ndjson(objects: Objects, analysis: Analysis, parts: Sequence[Part]) -> Iterator[bytes]:
    """A line for each record: where it is from, then its columns."""
    for part, table in tables(objects, parts):
        place = {
            "analysis_id": analysis.id,
            "media": shown(analysis.media[part.media_index]),
            "analyzer": part.analyzer,
        }
        place["media_index"] = part.media_index  # type: ignore[assignment]
        yield "".join(json.dumps(place | row) + "\n" for row in rows(table)).encode()


def write_parquet(objects: Objects, parts: Sequence[Part], file: IO[bytes]) -> int:
    """All records of one analyzer into one Parquet file, with a first column `media_index`; returns their number."""
    writer: pq.ParquetWriter | None = None
    total = 0
    try:
        for part, table in tables(objects, parts):
            index = pa.array([part.media_index] * table.num_rows, pa.int32())
            table = table.add_column(0, "media_index", index)
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema))
            total += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return total
