"""Lists of analyses: filters, and pages that stay right while new ones arrive."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Engine, and_, or_, select

from serve_apps.analyses import AnalysisState
from serve_apps.store.analysis_store import Analysis, as_analysis
from serve_apps.store.tables import analyses, reading, segments

_a, _s = analyses.c, segments.c
_CURSOR = re.compile(r"(\d{1,15}(?:\.\d{1,20})?) (an_[0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True)
class Filter:
    """Which analyses are meant: all conditions hold. `ids` limits to these; times are epoch seconds."""

    states: Sequence[AnalysisState] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created_after: float | None = None
    created_before: float | None = None
    ids: Sequence[str] | None = None


@dataclass(frozen=True)
class Cursor:
    """The last analysis of a page; the next page begins after it."""

    created_at: float
    id: str

    def encode(self) -> str:
        """As a client gets it: opaque."""
        return base64.urlsafe_b64encode(f"{self.created_at!r} {self.id}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """The inverse of `encode`. Raises ValueError."""
        try:
            plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, UnicodeError):
            plain = ""
        found = _CURSOR.fullmatch(plain)
        if found is None:
            raise ValueError("not a cursor: take it from the answer's next_cursor")
        return cls(float(found[1]), found[2])


def list_analyses(
    engine: Engine, wanted: Filter, limit: int, after: Cursor | None = None
) -> tuple[list[Analysis], Cursor | None]:
    """The newest analyses first, and the cursor of the next page (None: this is the last)."""
    conditions = _conditions(wanted)
    if after is not None:
        same = and_(_a.created_at == after.created_at, _a.id > after.id)
        conditions.append(or_(_a.created_at < after.created_at, same))
    rows = select(analyses).where(*conditions).order_by(_a.created_at.desc(), _a.id).limit(limit + 1)
    with reading(engine) as connection:
        found = [as_analysis(row) for row in connection.execute(rows)]
    page = found[:limit]
    more = len(found) > limit
    return page, Cursor(page[-1].created_at, page[-1].id) if more else None


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _a.labels[key].as_string() == value for key, value in wanted.labels.items()
    ]
    if wanted.states:
        conditions.append(_a.state.in_([state.value for state in wanted.states]))
    if wanted.ids is not None:
        conditions.append(_a.id.in_(wanted.ids))
    if wanted.created_after is not None:
        conditions.append(_a.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(_a.created_at < wanted.created_before)
    return conditions
