"""One contract over every place for documents: SQLite, PostgreSQL, and MongoDB's protocol."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_apps.search.documents import DatabaseDocuments, DocumentKey, Documents
from serve_apps.search.documents_mongo import MongoDocuments
from serve_apps.store.migrations import upgrade
from tests.contract.databases import postgresql_schema, sqlite
from tests.support.servers.mongo_wire import mongo_server

FIRST = DocumentKey("an_0000000000000001", 0, "labels", 0)
SPEECH = DocumentKey("an_0000000000000001", 0, "speech", 0)
OTHER = DocumentKey("an_0000000000000002", 1, "labels", 7)
DOGS = [
    {"time_s": 0.0, "labels": [{"label": "golden retriever", "score": 0.9}]},
    {"time_s": 0.5, "labels": [{"label": "tabby", "score": 0.5}, {"label": "Egyptian cat", "score": None}]},
]
SAID = [{"start_s": 3.0, "end_s": 5.0, "text": "Die Rechnung, bitte: die GOLDENE! 100 % a_b"}]


@pytest.fixture(params=["sqlite", "postgresql", "mongodb"])
def documents(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Documents]:
    if request.param == "mongodb":
        yield from mongo()
        return
    if request.param == "postgresql":
        with postgresql_schema() as engine:
            upgrade(engine)
            yield DatabaseDocuments(engine)
        return
    engine = sqlite(tmp_path)
    upgrade(engine)
    yield DatabaseDocuments(engine)
    engine.dispose()


def mongo() -> Iterator[Documents]:
    real = os.environ.get("AIMA_TEST_MONGODB_URL")
    if real:
        made = MongoDocuments(f"{real.rstrip('/')}/aima_test_{secrets.token_hex(4)}")
        yield made
        made.close()
        return
    with mongo_server() as url:
        made = MongoDocuments(url)
        yield made
        made.close()


def found(documents: Documents, *terms: str, **where: Any) -> list[tuple[DocumentKey, Any]]:
    return [(hit.key, hit.record) for hit in documents.search(terms, 100, **where)]


def test_a_record_is_found_by_the_beginnings_of_its_words(documents: Documents) -> None:
    documents.put(FIRST, DOGS)
    documents.put(SPEECH, SAID)
    documents.put(OTHER, DOGS[1:])
    assert found(documents, "retriever") == [(FIRST, DOGS[0])]
    assert found(documents, "gold", "retr") == [(FIRST, DOGS[0])]
    assert found(documents, "gold") == [(SPEECH, SAID[0]), (FIRST, DOGS[0])]
    assert found(documents, "gold", "tabby") == []  # in one document, but in no record of it
    assert found(documents, "rechnung") == [(SPEECH, SAID[0])]
    assert found(documents, "a_b") == [(SPEECH, SAID[0])]
    assert found(documents, "a_") == [(SPEECH, SAID[0])]
    assert found(documents, "_") == found(documents, "ab") == []
    assert found(documents, "cat", analysis_id=OTHER.analysis_id) == [(OTHER, DOGS[1])]
    assert found(documents, "gold", analyzer="labels") == [(FIRST, DOGS[0])]
    assert len(documents.search(["gold"], 1)) == 1


def test_analyses_are_found_by_what_is_in_them(documents: Documents) -> None:
    documents.put(FIRST, DOGS)
    documents.put(SPEECH, SAID)
    documents.put(OTHER, DOGS[1:])
    assert sorted(documents.analyses_with(["cat"], 10)) == [FIRST.analysis_id, OTHER.analysis_id]
    assert documents.analyses_with(["retriever"], 10) == [FIRST.analysis_id]
    assert documents.analyses_with(["cat", "rechnung"], 10) == []
    assert len(documents.analyses_with(["cat"], 1)) == 1


def test_putting_again_is_over_the_same(documents: Documents) -> None:
    for records in (DOGS, DOGS, DOGS[1:]):
        documents.put(FIRST, records)
    assert found(documents, "retriever") == []
    assert found(documents, "tabby") == [(FIRST, DOGS[1])]
    documents.put(FIRST, [])
    assert found(documents, "tabby") == []


def test_erasing_is_for_one_analysis_and_for_good(documents: Documents) -> None:
    for key in (FIRST, SPEECH, OTHER):
        documents.put(key, DOGS)
    for _ in range(2):
        documents.erase(FIRST.analysis_id)
    assert found(documents, "tabby") == [(OTHER, DOGS[1])]
