"""Every door of the HTTP API: what it stores, what it says, and how it refuses."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, event

from pipelines.sampling import plan_segments
from pipelines.sinks import write_part
from serve_apps.api import create_app
from serve_apps.events import stream
from serve_apps.media_policy import MediaPolicy, MediaRefused
from serve_apps.queue import DatabaseQueue
from serve_apps.store import Store

TOKEN = "a token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LOCAL = {"name": "i-1", "cloud": "local", "state": "bought", "phase": "a Ray node", "joined": True, "cost_usd": 0.5}


@dataclass
class Service:
    """The API on a database of its own, with a fleet and a clock that tests set."""

    app: FastAPI
    http: TestClient
    store: Store
    queue: DatabaseQueue
    media: Path
    storage: Path
    fleet: dict[str, Any]
    clock: list[float]
    woken: list[bool] = field(default_factory=list)

    def submit(self, **more: Any) -> dict[str, Any]:
        reply = self.http.post("/v1/analyses", json={"media": str(self.media), "analyzers": ["labels"]} | more)
        assert reply.status_code == 202, reply.text
        return dict(reply.json())

    def finish(self, analysis_id: str) -> None:
        self.queue.plan(analysis_id, [{}], [plan_segments(10.0)])
        (segment,) = self.queue.claim_segments("me", 1, 60)
        self.queue.first_frame(segment.key, "me", self.clock[0], "i-1")
        self.clock[0] += 4
        folder = f"{self.storage}/analyses/{analysis_id}/0000/labels"
        part = write_part(pa.table({"time_s": [0.0, 0.5, 1.0]}), folder, 0)
        self.queue.complete_segment(segment.key, "me", {"frames": 250, "parts": {"labels": part}}, "i-1", 4.0)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    engine = create_engine(f"sqlite:///{tmp_path / 'test.db'}")
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys=ON"))
    clock, woken = [1_700_000_000.0], list[bool]()
    fleet: dict[str, Any] = {"instances": [], "clouds": ["local"], "usual_boot_s": 6.0, "degraded": {}}
    store, queue = Store(engine, lambda: clock[0]), DatabaseQueue(engine, lambda: clock[0])
    store.create_tables()
    media = tmp_path / "media" / "clip.mp4"
    media.parent.mkdir()
    media.write_bytes(b"not looked into")

    async def fleet_now() -> dict[str, Any]:
        return fleet

    app = create_app(
        store=store,
        fleet=fleet_now,
        analyzer_names=("labels", "scenes"),
        token=TOKEN,
        storage_uri=str(tmp_path / "storage"),
        media_roots=(str(media.parent),),
        wake=lambda: woken.append(True),
        live=lambda: {"segments_running": 0},
    )
    with TestClient(app, headers=BEARER, raise_server_exceptions=False) as http:
        yield Service(app, http, store, queue, media, tmp_path / "storage", fleet, clock, woken)
    engine.dispose()


def test_a_request_is_stored_answered_and_waits_with_a_reason(service: Service) -> None:
    reply = service.http.post("/v1/analyses", json={"media": str(service.media)})
    view = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/analyses/{view['id']}" == view["links"]["self"]
    assert (view["state"], view["media"], view["analyzers"]) == ("queued", [str(service.media)], ["labels", "scenes"])
    assert view["created_at"] == "2023-11-14T22:13:20.000+00:00"
    assert view["waiting"]["reason"] == "reading the media's headers"
    assert service.woken == [True]
    service.queue.plan(view["id"], [{}], [plan_segments(10.0)])
    service.clock[0] += 2
    view = service.http.get(view["links"]["self"]).json()
    assert view["waiting"]["reason"] == "no GPU worker yet: asking for one from local, usually 6 s"
    assert view["eta_s"] == 9.0  # 4 s more until a worker comes, then 10 s of media at an assumed speed of 2
    assert view["seconds"] == {"queued": 0.0, "to_first_frame": None, "analysis": None, "total": 2.0}


def test_a_finished_analysis_shows_cost_and_results(service: Service) -> None:
    view = service.submit()
    service.fleet["instances"] = [LOCAL]
    service.clock[0] += 3
    service.finish(view["id"])
    view = service.http.get(f"/v1/analyses/{view['id']}").json()
    assert (view["state"], view["eta_s"], view["waiting"], view["error"]) == ("succeeded", 0.0, None, None)
    assert view["progress"] == {"percent": 100.0, "segments_done": 1, "segments_total": 1, "frames": 250}
    assert view["cost_usd"] == 0.5
    assert view["seconds"] == {"queued": 3.0, "to_first_frame": 3.0, "analysis": 4.0, "total": 7.0}
    found = service.http.get(view["results"]).json()
    times = [{"time_s": 0.0}, {"time_s": 0.5}, {"time_s": 1.0}]
    assert found["media"] == [{"uri": str(service.media), "analyzers": {"labels": times}, "truncated": {}}]
    assert [Path(part).name for part in found["parts"]] == ["part-00000.parquet"]
    few = service.http.get(view["results"], params={"max_records": 1}).json()["media"][0]
    assert (few["analyzers"], few["truncated"]) == ({"labels": times[:1]}, {"labels": 3})
    service.fleet["instances"] = []
    assert service.http.get(view["links"]["self"]).json()["cost_usd"] is None


def test_a_running_analysis_answers_what_there_is(service: Service) -> None:
    view = service.submit()
    found = service.http.get(view["results"])
    assert found.status_code == 200
    assert found.json()["media"][0]["analyzers"] == {"labels": []}
    assert found.json()["parts"] == []


def test_a_failed_analysis_names_the_file_and_the_cause(service: Service) -> None:
    view = service.submit()
    service.queue.fail_analysis(view["id"], "clip.mp4: is empty")
    view = service.http.get(f"/v1/analyses/{view['id']}").json()
    assert view["state"] == "failed"
    assert view["error"] == {"message": "clip.mp4: is empty", "media": None, "segments_failed": 0}


def test_the_newest_come_first(service: Service) -> None:
    ids = []
    for _ in range(3):
        service.clock[0] += 1
        ids.append(service.submit()["id"])
    listed = service.http.get("/v1/analyses", params={"limit": 2}).json()["analyses"]
    assert [view["id"] for view in listed] == ids[:0:-1]


def test_a_key_makes_a_retry_harmless_even_when_the_file_is_gone(service: Service) -> None:
    body = {"media": [str(service.media)]}
    first = service.http.post("/v1/analyses", json=body, headers={"Idempotency-Key": "k"})
    service.media.unlink()
    again = service.http.post("/v1/analyses", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    other = service.http.post("/v1/analyses", json={"media": ["/other"]}, headers={"Idempotency-Key": "k"})
    problem(other, 409, "Idempotency-Key")
    assert service.woken == [True]


def problem(reply: Any, status: int, field: str | None) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert body["status"] == status
    assert body.get("field") == field, body
    return body


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "media", "media is missing"),
        ({"media": []}, "media", "at least 1 item"),
        ({"media": ["x"] * 1001}, "media", "at most 1000"),
        ({"media": ""}, "media[0]", "at least 1 character"),
        ({"media": [1]}, "media[0]", "valid string"),
        ({"media": {"a": 1}}, "media", "valid list"),
        ({"media": None}, "media", "valid list"),
        ({"media": "/a\u0000b"}, "media[0]", "control characters"),
        ({"media": "\ud800"}, "media[0]", ""),
        ({"media": "x" * 9000}, "media[0]", "at most 8192"),
        ({"media": "/no/such/nothing.mp4"}, "media[0]", "'/no/such/nothing.mp4': there is no such file"),
        ({"media": "nothing.mp4"}, "media[0]", "relative path"),
        ({"media": "/" + "x" * 300}, "media[0]", "no such file"),
        ({"media": "/etc/passwd"}, "media[0]", "outside of the media roots"),
        ({"media": "file:///etc/passwd"}, "media[0]", "outside of the media roots"),
        ({"media": "file://elsewhere/x.mp4"}, "media[0]", "another machine"),
        ({"media": "ftp://x.org/a.mp4"}, "media[0]", "ftp:// cannot be read"),
        ({"media": "http://"}, "media[0]", "names no host"),
        ({"media": "http://x.org:99999/a"}, "media[0]", "not a URL"),
        ({"media": "http://[::1/a"}, "media[0]", "not a URL"),
        ({"media": "http://127.0.0.1/a.mp4"}, "media[0]", "not on the public internet"),
        ({"media": "https://169.254.169.254/latest"}, "media[0]", "not on the public internet"),
        ({"media": "http://[::ffff:10.0.0.1]/a"}, "media[0]", "not on the public internet"),
        ({"media": "http://2130706433/a"}, "media[0]", "not on the public internet"),
        ({"media": "ok", "analyzers": []}, "analyzers", "at least 1 item"),
        ({"media": "ok", "analyzers": "labels"}, "analyzers", "valid list"),
        (
            {"media": "ok", "analyzers": ["labels", "horoscope"]},
            "analyzers[1]",
            "'horoscope': unknown analyzer; allowed: labels, scenes",
        ),
        ({"media": "ok", "analyser": ["labels"]}, "analyser", "unknown field; allowed: media, analyzers"),
        ([], "body", "a JSON object is needed"),
        ("text", "body", "a JSON object is needed"),
    ],
)
def test_wrong_bodies_name_the_field_and_the_way_out(service: Service, body: Any, field: str, words: str) -> None:
    if isinstance(body, dict) and body.get("media") == "ok":
        body["media"] = str(service.media)
    reply = service.http.post("/v1/analyses", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert words in problem(reply, 422, field)["detail"]
    assert service.store.recent(1) == []


def test_all_wrong_values_are_named_at_once(service: Service) -> None:
    reply = service.http.post("/v1/analyses", json={"media": ["/a", str(service.media), "/b"], "analyzers": ["x"]})
    assert [e["field"] for e in problem(reply, 422, "analyzers[0]")["errors"]] == [
        "analyzers[0]",
        "media[0]",
        "media[2]",
    ]


@pytest.mark.parametrize("text", ["", "{", '{"media": "a",}', "\xff"])
def test_what_is_not_json_is_refused(service: Service, text: str) -> None:
    reply = service.http.post(
        "/v1/analyses", content=text.encode("latin-1"), headers={"Content-Type": "application/json"}
    )
    assert reply.status_code in (400, 422)
    problem(reply, reply.status_code, "body")


def test_a_body_of_another_type_is_refused(service: Service) -> None:
    reply = service.http.post("/v1/analyses", content='{"media": "/a"}', headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in problem(reply, 422, "body")["detail"]


def test_paths_that_leave_the_roots_by_a_link_or_name_folders_are_refused(service: Service) -> None:
    link = service.media.parent / "link.mp4"
    link.symlink_to("/etc/passwd")
    reply = service.http.post("/v1/analyses", json={"media": str(link)})
    assert "outside" in problem(reply, 422, "media[0]")["detail"]
    reply = service.http.post("/v1/analyses", json={"media": str(service.media.parent)})
    assert "is not a file" in problem(reply, 422, "media[0]")["detail"]
    inside = service.media.parent / "a b.mp4"
    inside.symlink_to(service.media)
    assert service.submit(media=f"file://{service.media.parent}/a%20b.mp4")["media"] == [str(service.media)]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/analyses?limit=0", "limit"),
        ("/v1/analyses?limit=many", "limit"),
        ("/v1/analyses/an_no/results?max_records=0", "max_records"),
    ],
)
def test_wrong_queries_name_the_field(service: Service, path: str, field: str) -> None:
    problem(service.http.get(path), 422, field)


def test_wrong_headers_name_the_field(service: Service) -> None:
    analysis_id = service.submit()["id"]
    for value in ("x", "-1", "9" * 30):
        reply = service.http.get(f"/v1/analyses/{analysis_id}/events", headers={"Last-Event-ID": value})
        problem(reply, 422, "last-event-id")
    reply = service.http.post("/v1/analyses", json={"media": "/a"}, headers={"Idempotency-Key": "k" * 256})
    problem(reply, 422, "idempotency-key")


@pytest.mark.parametrize("path", ["", "/results", "/events"])
def test_what_does_not_exist_is_a_problem_too(service: Service, path: str) -> None:
    problem(service.http.get(f"/v1/analyses/an_0000000000000000{path}"), 404, "id")
    problem(service.http.get("/v2/nothing"), 404, None)
    problem(service.http.delete("/v1/analyses"), 405, None)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}])
def test_without_the_token_only_health_and_documentation_answer(service: Service, headers: dict[str, str]) -> None:
    stranger = TestClient(service.app, headers=headers)
    for path in ("/v1/analyses", "/v1/analyses/x", "/v1/analyses/x/results", "/v1/analyses/x/events", "/v1/instances"):
        assert problem(stranger.get(path), 401, None)
    reply = stranger.post("/v1/analyses", json={"media": str(service.media)})
    problem(reply, 401, None)
    assert reply.headers["www-authenticate"] == "Bearer"
    assert stranger.get("/v1/health").json() == {"status": "ok", "segments_running": 0}
    assert stranger.get("/docs").status_code == 200
    assert "/v1/analyses/{analysis_id}/events" in stranger.get("/openapi.json").json()["paths"]


def test_a_crash_tells_nothing_of_the_inside(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_args: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Store, "recent", crash)
    assert "secret" not in str(problem(service.http.get("/v1/analyses"), 500, None))


def test_a_database_that_is_away_asks_to_try_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Store(create_engine("sqlite:////no/such/folder/test.db"), lambda: 0.0)
    monkeypatch.setattr(Store, "recent", lambda _self, limit: away.get(str(limit)))
    reply = service.http.get("/v1/analyses")
    problem(reply, 503, None)
    assert reply.headers["retry-after"] == "2"


def test_the_fleet_is_shown(service: Service) -> None:
    assert service.http.get("/v1/instances").json() == service.fleet


def test_events_end_with_the_analysis_and_resume(service: Service) -> None:
    analysis_id = service.submit()["id"]
    service.finish(analysis_id)
    path = f"/v1/analyses/{analysis_id}/events"
    reply = service.http.get(path)
    assert reply.headers["content-type"].startswith("text/event-stream")
    frames = [dict(line.split(": ", 1) for line in f.splitlines()) for f in reply.text.split("\n\n") if f]
    assert [f["event"] for f in frames] == ["queued", "planned", "first_frame", "segment_done", "succeeded"]
    assert json.loads(frames[3]["data"])["frames"] == 250
    resumed = service.http.get(path, headers={"Last-Event-ID": frames[3]["id"]}).text
    assert resumed.startswith(f"id: {frames[4]['id']}\nevent: succeeded\n")
    assert service.http.get(path, headers={"Last-Event-ID": frames[4]["id"]}).status_code == 204


def test_events_come_as_they_happen_with_a_heartbeat_in_silence(service: Service) -> None:
    analysis_id = service.submit()["id"]
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 61:
            service.finish(analysis_id)

    async def read() -> list[str]:
        return [frame async for frame in stream(service.store, analysis_id, sleep=nap)]

    frames = asyncio.run(read())
    assert [f.split("\n")[1] for f in frames if f.startswith("id")][-1] == "event: succeeded"
    assert frames[1] == ": still here\n\n"
    assert sum(naps) == 61 * 0.25


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_hosts_of_the_public_internet_may_be_named(address: str, public: bool) -> None:
    policy = MediaPolicy((), resolve=lambda _host: ["93.184.216.34", address])
    if public:
        assert policy.check("https://x.org/a.mp4?sig=1") == "https://x.org/a.mp4?sig=1"
    else:
        with pytest.raises(MediaRefused, match="not on the public internet"):
            policy.check("https://x.org/a.mp4")
    assert MediaPolicy((), allow_private_hosts=True).check("http://10.0.0.1/a")
    assert MediaPolicy((), resolve=lambda _host: []).check("s3://bucket/a.mp4")
