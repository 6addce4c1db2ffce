"""Fields and rows of what a cloud answers, read one by one: a field of the wrong kind says nothing, and spoils no more.

An answer's envelope makes it good or not (the provider decides). Within a good one, a row that cannot be read is
skipped, counted and shown once, and the others count.
"""

import math
import re
import reprlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autoscaler.types import SkippedRow

_LONGEST, _LONGEST_PROSE = 256, 500
# More rows than these are counted, not kept.
_MAX_KEPT = 200
_UNPRINTABLE = re.compile(r"[^ -~]+")


class SkippedRows:
    """What the latest answer of each kind had that could not be read. One answer replaces the one before."""

    def __init__(self) -> None:
        self._rows: dict[str, list[SkippedRow]] = {}

    def begin(self, kind: str) -> None:
        """An answer of this kind is read from now on."""
        self._rows[kind] = []

    def add(self, kind: str, row: SkippedRow) -> None:
        """This row is left out."""
        rows = self._rows.setdefault(kind, [])
        if len(rows) < _MAX_KEPT:
            rows.append(row)

    def all(self) -> list[SkippedRow]:
        """Those of the latest answers."""
        return [row for rows in self._rows.values() for row in rows]


def text(value: object) -> str:
    """Printable text of a bounded length, or ""."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST else ""


def prose(value: object) -> str:
    """The beginning of what is said to people, or ""."""
    return " ".join(value[:_LONGEST_PROSE].split()) if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """A finite number that is not negative, also as text; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def whole(value: object) -> int | None:
    """A whole number that is not negative, also as text."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def identifier(value: object) -> str:
    """An id, which some clouds write as a number and some as text; "" when it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 <= value < 10**18 else ""
    return text(value) if isinstance(value, str) and re.fullmatch(r"[\w.:-]+", value, re.ASCII) else ""


def moment(value: object) -> float | None:
    """Unix seconds, from themselves or from ISO 8601; without a time zone it is UTC."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return number(value) or None
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    return number(value) or None


def mapping(value: object) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Any]:
    """A list, or an empty one."""
    return value if isinstance(value, list) else []


def excerpt(value: object) -> str:
    """The beginning of a value that is not what it should be, for a message."""
    return _UNPRINTABLE.sub(" ", reprlib.repr(value))[:60]
