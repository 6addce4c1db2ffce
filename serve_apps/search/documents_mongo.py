"""`Documents` in MongoDB, or whatever speaks its protocol: one document for each segment and analyzer."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from serve_apps.search.documents import DocumentKey, Hit, matching
from serve_apps.search.terms import record_terms

_TIMEOUT_MS = 5000
_PLACE = ("analysis_id", "media_index", "analyzer", "segment_index")


class MongoDocuments:
    """The database is the URL's path (default: aima). Indexes are made when it is opened."""

    def __init__(self, url: str) -> None:
        from pymongo import ASCENDING, MongoClient  # noqa: PLC0415 - not needed where documents lie in the database

        self._client: Any = MongoClient(url, serverSelectionTimeoutMS=_TIMEOUT_MS, appname="aima", connect=False)
        self._documents = self._client[urlsplit(url).path.strip("/") or "aima"]["documents"]
        self._ascending = ASCENDING
        self._indexed = False

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def put(self, key: DocumentKey, records: Sequence[Mapping[str, Any]]) -> None:
        """See Documents."""
        self._make_indexes()
        content = {"records": [dict(record) for record in records], "terms": sorted(record_terms(records))}
        self._documents.replace_one(vars(key), vars(key) | content, upsert=True)

    def search(
        self, terms: Sequence[str], limit: int, analysis_id: str | None = None, analyzer: str | None = None
    ) -> list[Hit]:
        """See Documents."""
        wanted = _having(terms)
        wanted |= {} if analysis_id is None else {"analysis_id": analysis_id}
        wanted |= {} if analyzer is None else {"analyzer": analyzer}
        hits: list[Hit] = []
        for found in self._documents.find(wanted).sort("_id", -1).limit(limit):
            hits += matching(DocumentKey(*(found[name] for name in _PLACE)), found["records"], terms)
        return hits[:limit]

    def analyses_with(self, terms: Sequence[str], limit: int) -> list[str]:
        """See Documents."""
        return list(self._documents.distinct("analysis_id", _having(terms)))[:limit]

    def erase(self, analysis_id: str) -> None:
        """See Documents."""
        self._documents.delete_many({"analysis_id": analysis_id})

    def _make_indexes(self) -> None:
        if not self._indexed:
            self._documents.create_index([(name, self._ascending) for name in _PLACE], unique=True)
            self._documents.create_index([("terms", self._ascending)])
            self._indexed = True


def _having(terms: Sequence[str]) -> dict[str, Any]:
    # Terms are words: letters, digits and underscores mean nothing in a regular expression. A prefix uses the index.
    return {"$and": [{"terms": {"$regex": f"^{term}"}} for term in terms]}
