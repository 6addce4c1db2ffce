"""Makes results findable: reads the parts of segments that are done and keeps their records as documents.

Which segments are indexed is in the database: after a crash, or while the documents' store is away, nothing is lost,
and what is put twice is the same.
"""

from typing import Any

from sqlalchemy import Engine, select, update

from serve_apps.analyses import SegmentState
from serve_apps.results.objects import Objects
from serve_apps.results.parts import rows, tables
from serve_apps.search.documents import DocumentKey, Documents
from serve_apps.store.analysis_store import Part
from serve_apps.store.tables import reading, segments, writing

_s = segments.c
_AT_ONCE = 8


def index_some(engine: Engine, objects: Objects, documents: Documents) -> int:
    """Index a few segments, the oldest first; returns how many. Reads the storage."""
    waiting = select(segments).where(_s.state == SegmentState.DONE.value, _s.indexed.is_(False))
    with reading(engine) as connection:
        found = connection.execute(waiting.order_by(_s.finished_at).limit(_AT_ONCE)).all()
    keys = {
        Part(row.media_index, row.segment_index, analyzer, uri): DocumentKey(
            row.analysis_id, row.media_index, analyzer, row.segment_index
        )
        for row in found
        for analyzer, uri in (row.parts or {}).items()
    }
    for part, table in tables(objects, list(keys)):
        documents.put(keys[part], rows(table))
    for row in found:
        _mark(engine, row)
    return len(found)


def _mark(engine: Engine, row: Any) -> None:
    names = ("analysis_id", "media_index", "segment_index", "lane")
    same = [segments.c[name] == getattr(row, name) for name in names]
    with writing(engine) as connection:
        connection.execute(update(segments).where(*same).values(indexed=True))
