"""A finished analysis leaves its insights and a manifest beside its parts, written once and last."""

import json
from pathlib import Path

import pytest

from pipelines.records.results import verify
from serve_apps.results.summaries import summarise_some
from tests.support.product.service import Running, problem


def folder(service: Running, analysis_id: str) -> Path:
    return Path(f"{service.service.objects.base_uri}/analyses/{analysis_id}/0000")


def test_what_is_whole_gets_its_insights_and_its_manifest(service: Running) -> None:
    analysis_id = str(service.submit()["id"])
    assert summarise_some(service.service) == 0
    service.finish(analysis_id)
    assert [summarise_some(service.service) for _ in range(2)] == [1, 0]
    place = folder(service, analysis_id)
    assert verify(str(place)) == []
    insights = json.loads((place / "insights.json").read_text())
    assert (insights["media"], insights["duration_s"]) == ("clip.mp4", 10.0)
    found = {insight["name"]: insight["ranges"] for insight in insights["insights"]}
    assert found["tabby cat"] == [{"start_s": 0.5, "end_s": 1.0}]
    path = f"/v1/analyses/{analysis_id}/results/0"
    assert service.http.get(f"{path}/insights.json").json() == insights
    manifest = service.http.get(f"{path}/manifest.json").json()
    assert [part["rows"] for part in manifest["analyzers"]["labels"]["parts"]] == [3]
    exported = [json.loads(line) for line in service.http.get("/v1/export").text.splitlines()]
    assert exported[-1] == {"analysis_id": analysis_id, "media_index": 0, "manifest": manifest}


def test_who_asks_before_its_turn_gets_it_all_the_same(service: Running) -> None:
    analysis_id = str(service.submit()["id"])
    service.finish(analysis_id)
    reply = service.http.get(f"/v1/analyses/{analysis_id}/results/0/insights.json")
    assert len(reply.json()["insights"]) == 3
    assert summarise_some(service.service) == 0


def test_of_what_is_not_whole_there_is_none_until_it_is(service: Running) -> None:
    analysis_id = str(service.submit()["id"])
    path = f"/v1/analyses/{analysis_id}/results/0/manifest.json"
    service.begin(analysis_id, 2)
    assert "is running" in problem(service.http.get(path), 404, "index")["detail"]
    service.http.delete(f"/v1/analyses/{analysis_id}")
    assert summarise_some(service.service) == 1
    assert "is cancelled" in problem(service.http.get(path), 404, "index")["detail"]
    assert not (folder(service, analysis_id) / "manifest.json").exists()
    service.http.post(f"/v1/analyses/{analysis_id}/retry")
    service.run_next(analysis_id)
    assert len(service.http.get(path).json()["analyzers"]["labels"]["parts"]) == 2
    problem(service.http.get(path.replace("/0/", "/1/")), 404, "index")
    problem(service.http.get(path.replace("manifest.json", "other.json")), 422, "name")


def test_records_that_are_not_what_they_should_be_hold_up_nothing(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (str(service.submit()["id"]) for _ in range(2))
    for analysis_id in (first, second):
        service.finish(analysis_id)
    (folder(service, first) / "labels" / "part-00000.parquet").write_bytes(b"rotten")
    assert [summarise_some(service.service) for _ in range(2)] == [2, 0]
    assert "records are not what its analyzers write" in caplog.text
    assert not (folder(service, first) / "manifest.json").exists()
    assert verify(str(folder(service, second))) == []
