"""What all analyzers' tables have in common."""

from typing import Any

import pyarrow as pa

_UNITS = {
    "segment": "number of the segment, from 0",
    "time_s": "seconds from the first frame",
    "frame_index": "frames from the first frame, from 0",
    "start_s": "seconds from the first frame, or from the first sample where there is no picture",
    "end_s": "seconds from the first frame, or from the first sample where there is no picture",
}


def frame_columns() -> list[tuple[str, pa.DataType]]:
    """The columns that say which frame a row is about."""
    return [("segment", pa.int32()), ("frame_index", pa.int64()), ("time_s", pa.float64())]


def range_columns() -> list[tuple[str, pa.DataType]]:
    """The columns that say which stretch of time a row is about."""
    return [("segment", pa.int32()), ("start_s", pa.float64()), ("end_s", pa.float64())]


def described(analyzer: Any, columns: list[tuple[str, pa.DataType]], **units: str) -> pa.Schema:
    """A schema that says by whom it was filled, in which units, and how it reads as insights."""
    known = _UNITS | units
    present = {column: known[column] for column, _ in columns if column in known}
    metadata = {
        "analyzer": analyzer.name,
        "version": analyzer.version,
        **({"insight": analyzer.description.insight.to_json()} if analyzer.description.insight else {}),
        **{f"unit:{column}": unit for column, unit in (present | units).items()},
    }
    return pa.schema(columns, metadata=metadata)
