"""Results in every form, search, export, and what a user may do with an analysis afterwards."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from serve_apps.search.indexer import index_some
from serve_apps.search.terms import matches, query_terms
from tests.support.product.service import Running, problem


def finished(service: Running, **more: object) -> str:
    analysis_id = str(service.submit(**more)["id"])
    service.finish(analysis_id)
    return analysis_id


def index(service: Running) -> int:
    parts = service.service
    return index_some(parts.store.engine, parts.objects, parts.documents)


def test_results_come_as_lines(service: Running) -> None:
    path = f"/v1/analyses/{finished(service)}/results"
    reply = service.http.get(path, headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert [line["time_s"] for line in lines] == [0.0, 0.5, 1.0]
    assert (lines[0]["media"], lines[0]["analyzer"], lines[0]["media_index"]) == (str(service.media), "labels", 0)


def test_results_come_as_parquet(service: Running) -> None:
    path = f"/v1/analyses/{finished(service)}/results"
    reply = service.http.get(path, headers={"Accept": "application/vnd.apache.parquet"})
    table = pq.read_table(io.BytesIO(reply.content))
    assert table.column_names == ["media_index", "time_s", "labels"]
    assert table["time_s"].to_pylist() == [0.0, 0.5, 1.0]
    both = finished(service, analyzers=["labels", "scenes"])
    reply = service.http.get(f"/v1/analyses/{both}/results", headers={"Accept": "application/vnd.apache.parquet"})
    assert "one of: labels, scenes" in problem(reply, 422, "analyzer")["detail"]


def test_a_part_that_is_gone_hides_no_other(service: Running) -> None:
    """Its file may be erased between the look into the database and the look into the storage."""
    analysis_id = str(service.submit()["id"])
    service.begin(analysis_id, segments=2)
    service.run_next(analysis_id)
    gone, _ = service.service.store.parts(analysis_id)
    Path(gone.uri).unlink()
    path = f"/v1/analyses/{analysis_id}/results"
    (media,) = service.http.get(path).json()["media"]
    assert [record["time_s"] for record in media["analyzers"]["labels"]] == [0.0, 0.5, 1.0]
    assert len(service.http.get(path, headers={"Accept": "application/x-ndjson"}).text.splitlines()) == 3
    assert (index(service), index(service)) == (2, 0)
    assert [hit["analysis_id"] for hit in service.http.get("/v1/search", params={"q": "dog"}).json()["hits"]] == [
        analysis_id
    ]


def test_an_unknown_form_is_refused_and_json_is_the_default(service: Running) -> None:
    path = f"/v1/analyses/{finished(service)}/results"
    problem(service.http.get(path, headers={"Accept": "text/csv"}), 406, None)
    for accept in ("*/*", "text/html, application/json;q=0.9", "application/json"):
        assert service.http.get(path, headers={"Accept": accept}).json()["state"] == "succeeded"


def test_what_was_found_is_found_again(service: Running) -> None:
    analysis_id = finished(service)
    assert service.http.get("/v1/search", params={"q": "dog"}).json()["hits"] == []
    assert (index(service), index(service)) == (1, 0)
    found = service.http.get("/v1/search", params={"q": "where is a dog"}).json()
    assert found["terms"] == ["dog"]
    assert [(hit["time_s"], hit["analysis_id"], hit["media"]) for hit in found["hits"]] == [
        (1.0, analysis_id, str(service.media))
    ]
    assert service.http.get("/v1/search", params={"q": "Golden RETR"}).json()["hits"][0]["time_s"] == 0.0
    assert service.http.get("/v1/search", params={"q": "golden cat"}).json()["hits"] == []
    listed = service.http.get("/v1/analyses", params={"q": "a dog"}).json()["analyses"]
    assert [view["id"] for view in listed] == [analysis_id]
    assert service.http.get("/v1/analyses", params={"q": "horse"}).json()["analyses"] == []


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("where is a dog", ("dog",)),
        ("who said invoice", ("invoice",)),
        ("The Who", ("the", "who")),
        ("Straße, straße!", ("strasse",)),
        ("...", ()),
    ],
)
def test_a_questions_words_are_those_that_matter(question: str, terms: tuple[str, ...]) -> None:
    assert query_terms(question) == terms


def test_all_words_must_begin_a_word_of_the_record() -> None:
    record = {"time_s": 1.0, "labels": [{"label": "golden retriever", "score": 0.9}], "text": None}
    assert matches(record, ("gold", "retriever"))
    assert not matches(record, ("gold", "label"))  # names of columns do not count
    assert not matches(record, ("olden",))


def test_a_record_is_not_found_by_what_it_hardly_is() -> None:
    guesses = [
        {"label": "bannister", "score": 0.1},
        {"label": "gondola", "score": 0.2},
        {"label": "cab", "score": 0.02},
    ]
    assert matches({"labels": guesses}, ("bannister",))  # unsure, but the best there is
    assert matches({"labels": guesses}, ("gondola",))
    assert not matches({"labels": guesses}, ("cab",))
    assert matches({"text": "cab", "score": 0.02}, ("cab",))  # no guess among several: it is all there is


def test_cancelling_keeps_what_is_done_and_a_retry_goes_on(service: Running) -> None:
    analysis_id = service.submit()["id"]
    view = service.http.delete(f"/v1/analyses/{analysis_id}").json()
    assert (view["state"], view["error"]) == ("cancelled", None)
    assert service.http.delete(f"/v1/analyses/{analysis_id}").json()["state"] == "cancelled"
    view = service.http.post(f"/v1/analyses/{analysis_id}/retry")
    assert (view.status_code, view.json()["state"]) == (202, "queued")
    problem(service.http.post(f"/v1/analyses/{analysis_id}/retry"), 409, None)
    service.finish(analysis_id)
    problem(service.http.post(f"/v1/analyses/{analysis_id}/retry"), 409, None)
    assert service.http.delete(f"/v1/analyses/{analysis_id}").json()["state"] == "succeeded"
    events = service.http.get(f"/v1/analyses/{analysis_id}/events").text
    kinds = [line.partition(": ")[2] for line in events.splitlines() if line.startswith("event")]
    assert kinds[:3] == ["queued", "cancelled", "retried"]
    assert kinds[-1] == "succeeded"


def test_erasing_leaves_nothing(service: Running) -> None:
    analysis_id = finished(service)
    index(service)
    folder = Path(f"{service.service.objects.base_uri}/analyses/{analysis_id}")
    assert folder.exists()
    reply = service.http.delete(f"/v1/analyses/{analysis_id}", params={"forever": True})
    assert reply.status_code == 204
    assert not folder.exists()
    problem(service.http.get(f"/v1/analyses/{analysis_id}"), 404, "id")
    assert service.http.get("/v1/search", params={"q": "dog"}).json()["hits"] == []


def test_a_page_leads_to_the_next(service: Running) -> None:
    ids = [service.submit(labels={"n": str(n)})["id"] for n in range(3)]
    first = service.http.get("/v1/analyses", params={"limit": 2}).json()
    rest = service.http.get("/v1/analyses", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert sorted(v["id"] for v in first["analyses"] + rest["analyses"]) == sorted(ids)
    assert rest["next_cursor"] is None
    problem(service.http.get("/v1/analyses", params={"cursor": "AAAA"}), 422, "cursor")
    labelled = service.http.get("/v1/analyses", params={"label": "n:1", "state": "queued"}).json()["analyses"]
    assert [v["id"] for v in labelled] == [ids[1]]
    problem(service.http.get("/v1/analyses", params={"label": "n"}), 422, "label")


def test_everything_can_be_taken_away(service: Running) -> None:
    analysis_id = finished(service, webhook={"url": "https://x.invalid", "secret": "never to be told"})
    reply = service.http.get("/v1/export")
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line.get("time_s") for line in lines] == [None, 0.0, 0.5, 1.0]
    assert {line["analysis_id"] for line in lines} == {analysis_id}
    assert "never to be told" not in reply.text
    view = service.http.get(f"/v1/analyses/{analysis_id}")
    assert "never to be told" not in view.text
    assert view.json()["webhook_url"] == "https://x.invalid"
