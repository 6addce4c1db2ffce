"""What all analyzers' tables have in common."""

from typing import Any

import pyarrow as pa


def frame_columns() -> list[tuple[str, pa.DataType]]:
    """The columns that say which frame a row is about."""
    return [("segment", pa.int32()), ("frame_index", pa.int64()), ("time_s", pa.float64())]


def described(analyzer: Any, columns: list[tuple[str, pa.DataType]], **units: str) -> pa.Schema:
    """A schema that says by whom it was filled and in which units."""
    metadata = {
        "analyzer": analyzer.name,
        "version": analyzer.version,
        "unit:time_s": "seconds from the first frame",
        "unit:frame_index": "frames from the first frame, from 0",
        **{f"unit:{column}": unit for column, unit in units.items()},
    }
    return pa.schema(columns, metadata=metadata)
