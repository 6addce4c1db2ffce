"""What has been found, kept so that it can be searched: by default in the database itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Select, delete, select

from serve_apps.search.terms import matches, record_terms
from serve_apps.store.tables import document_terms, documents, reading, writing

_d, _t = documents.c, document_terms.c


@dataclass(frozen=True)
class DocumentKey:
    """One analyzer's records of one segment: one document."""

    analysis_id: str
    media_index: int
    analyzer: str
    segment_index: int


@dataclass(frozen=True)
class Hit:
    """A record that matches a search."""

    key: DocumentKey
    record: Mapping[str, Any]


class Documents(Protocol):
    """Where documents are kept. `terms` are beginnings of words in lower case; a record matches all or none."""

    def put(self, key: DocumentKey, records: Sequence[Mapping[str, Any]]) -> None:
        """Write a document; again: over the same."""
        ...

    def search(
        self, terms: Sequence[str], limit: int, analysis_id: str | None = None, analyzer: str | None = None
    ) -> list[Hit]:
        """At most `limit` matching records, those of the newest documents first, in the media's order in each."""
        ...

    def analyses_with(self, terms: Sequence[str], limit: int) -> list[str]:
        """At most `limit` ids of analyses in which one document has all the terms."""
        ...

    def erase(self, analysis_id: str) -> None:
        """Remove all documents of an analysis for good."""
        ...


class DatabaseDocuments:
    """`Documents` in the service's database, with an inverted index beside them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, key: DocumentKey, records: Sequence[Mapping[str, Any]]) -> None:
        found = record_terms(records)
        with writing(self._engine) as connection:
            connection.execute(delete(documents).where(*_at(key)))
            row = {**vars(key), "records": [dict(record) for record in records]}
            made = connection.execute(documents.insert().values(row).returning(_d.id)).scalar_one()
            if found:
                rows = [{"term": term, "document_id": made} for term in sorted(found)]
                connection.execute(document_terms.insert(), rows)

    def search(
        self, terms: Sequence[str], limit: int, analysis_id: str | None = None, analyzer: str | None = None
    ) -> list[Hit]:
        chosen = _having(select(documents), terms)
        if analysis_id is not None:
            chosen = chosen.where(_d.analysis_id == analysis_id)
        if analyzer is not None:
            chosen = chosen.where(_d.analyzer == analyzer)
        hits: list[Hit] = []
        with reading(self._engine) as connection:
            for row in connection.execute(chosen.order_by(_d.id.desc()).limit(limit)):
                hits += matching(_key(row), row.records, terms)
        return hits[:limit]

    def analyses_with(self, terms: Sequence[str], limit: int) -> list[str]:
        chosen = _having(select(_d.analysis_id).distinct(), terms).limit(limit)
        with reading(self._engine) as connection:
            return list(connection.execute(chosen).scalars())

    def erase(self, analysis_id: str) -> None:
        with writing(self._engine) as connection:
            _erase(connection, analysis_id)


def matching(key: DocumentKey, records: Sequence[Mapping[str, Any]], terms: Sequence[str]) -> list[Hit]:
    """A document's records that match."""
    return [Hit(key, record) for record in records if matches(record, terms)]


def _having(chosen: Select[Any], terms: Sequence[str]) -> Select[Any]:
    for term in terms:
        with_it = select(_t.document_id).where(_t.term.startswith(term, autoescape=True))
        chosen = chosen.where(_d.id.in_(with_it))
    return chosen


def _erase(connection: Connection, analysis_id: str) -> None:
    connection.execute(delete(documents).where(_d.analysis_id == analysis_id))


def _at(key: DocumentKey) -> list[Any]:
    return [documents.c[name] == value for name, value in vars(key).items()]


def _key(row: Any) -> DocumentKey:
    return DocumentKey(row.analysis_id, row.media_index, row.analyzer, row.segment_index)
