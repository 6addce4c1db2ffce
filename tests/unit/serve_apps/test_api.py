"""Every door of the HTTP API: what it stores, what it says, and how it refuses."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from pipelines.media.sampling import plan_segments
from serve_apps.analyses import Lane
from serve_apps.api.event_hub import EventHub
from serve_apps.api.media_policy import MediaPolicy, MediaRefused
from serve_apps.store.analysis_store import Store
from tests.support.product.service import Running, problem

LOCAL = {"name": "i-1", "cloud": "local", "state": "bought", "phase": "a Ray node", "joined": True, "cost_usd": 0.5}


def test_a_request_is_stored_answered_and_waits_with_a_reason(service: Running) -> None:
    reply = service.http.post("/v1/analyses", json={"media": str(service.media)})
    view = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/analyses/{view['id']}" == view["links"]["self"]
    assert (view["state"], view["media"], view["analyzers"]) == ("queued", [str(service.media)], ["labels", "scenes"])
    assert view["created_at"] == "2023-11-14T22:13:20.000+00:00"
    assert view["waiting"]["reason"] == "reading the media's headers"
    assert service.woken == [view["id"]]
    service.queue.plan(view["id"], [{}], [{Lane.GPU: plan_segments(10.0)}])
    service.clock[0] += 2
    view = service.http.get(view["links"]["self"]).json()
    assert view["waiting"]["reason"] == "no GPU worker yet: asking for one from local, usually 6 s"
    assert view["eta_s"] == 9.0  # 4 s more until a worker comes, then 10 s of media at an assumed speed of 2
    assert view["seconds"] == {"queued": 0.0, "to_first_frame": None, "analysis": None, "total": 2.0}


def test_a_finished_analysis_shows_cost_and_results(service: Running) -> None:
    view = service.submit()
    service.fleet.view["instances"] = [LOCAL]
    service.clock[0] += 3
    service.finish(view["id"])
    view = service.http.get(f"/v1/analyses/{view['id']}").json()
    assert (view["state"], view["eta_s"], view["waiting"], view["error"]) == ("succeeded", 0.0, None, None)
    assert view["progress"] == {"percent": 100.0, "segments_done": 1, "segments_total": 1, "frames": 250}
    assert view["cost_usd"] == 0.5
    assert view["seconds"] == {"queued": 3.0, "to_first_frame": 3.0, "analysis": 4.0, "total": 7.0}
    found = service.http.get(view["results"]).json()
    times = [
        {"time_s": time_s, "labels": [{"label": label, "score": 0.9}]}
        for time_s, label in ((0.0, "golden retriever"), (0.5, "tabby cat"), (1.0, "Dog sled"))
    ]
    assert found["media"] == [
        {"uri": str(service.media), "error": None, "analyzers": {"labels": times}, "truncated": {}}
    ]
    assert [Path(part).name for part in found["parts"]] == ["part-00000.parquet"]
    few = service.http.get(view["results"], params={"max_records": 1}).json()["media"][0]
    assert (few["analyzers"], few["truncated"]) == ({"labels": times[:1]}, {"labels": 3})
    service.fleet.view["instances"] = []
    assert service.http.get(view["links"]["self"]).json()["cost_usd"] is None


def test_a_running_analysis_answers_what_there_is(service: Running) -> None:
    view = service.submit()
    found = service.http.get(view["results"])
    assert found.status_code == 200
    assert found.json()["media"][0]["analyzers"] == {"labels": []}
    assert found.json()["parts"] == []


def test_a_failed_analysis_names_the_file_and_the_cause(service: Running) -> None:
    view = service.submit()
    service.queue.plan(view["id"], [{"uri": "x", "error": "clip.mp4: is empty"}], [{}])
    view = service.http.get(f"/v1/analyses/{view['id']}").json()
    assert view["state"] == "failed"
    failed = {"message": "clip.mp4: is empty", "media": view["media"][0], "segments_failed": 0}
    assert view["error"] == failed
    assert view["failed_media"] == [failed | {"index": 0}]


def test_media_that_fail_are_named_and_the_others_results_are_there(service: Running) -> None:
    view = service.submit(media=[str(service.media)] * 2)
    broken = {"uri": view["media"][1], "error": "clip.mp4: is empty"}
    service.queue.plan(view["id"], [{}, broken], [{Lane.GPU: plan_segments(10.0)}, {}])
    running = service.http.get(view["links"]["self"]).json()
    failed = {"index": 1, "media": view["media"][1], "message": "clip.mp4: is empty", "segments_failed": 0}
    assert (running["state"], running["failed_media"]) == ("running", [failed])
    service.begin(view["id"], 1)
    ended = service.http.get(view["links"]["self"]).json()
    assert (ended["state"], ended["failed_media"], ended["progress"]["percent"]) == ("partial", [failed], 100.0)
    assert ended["error"]["message"] == "clip.mp4: is empty"
    whole, empty = service.http.get(view["results"]).json()["media"]
    assert (len(whole["analyzers"]["labels"]), whole["error"]) == (3, None)
    assert (empty["analyzers"]["labels"], empty["error"]) == ([], "clip.mp4: is empty")
    again = service.http.post(view["links"]["retry"])
    assert (again.status_code, again.json()["state"]) == (202, "queued")


def test_the_newest_come_first(service: Running) -> None:
    ids = []
    for _ in range(3):
        service.clock[0] += 1
        ids.append(service.submit()["id"])
    listed = service.http.get("/v1/analyses", params={"limit": 2}).json()["analyses"]
    assert [view["id"] for view in listed] == ids[:0:-1]


def test_a_key_makes_a_retry_harmless_even_when_the_file_is_gone(service: Running) -> None:
    body = {"media": [str(service.media)]}
    first = service.http.post("/v1/analyses", json=body, headers={"Idempotency-Key": "k"})
    service.media.unlink()
    again = service.http.post("/v1/analyses", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    other = service.http.post("/v1/analyses", json={"media": ["/other"]}, headers={"Idempotency-Key": "k"})
    problem(other, 409, "Idempotency-Key")
    assert service.woken == [first.json()["id"]]


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
        ({"media": "/no/such/nothing.mp4"}, "media[0]", "'/no/such/nothing.mp4': not allowed"),
        ({"media": "nothing.mp4"}, "media[0]", "relative path"),
        ({"media": "/" + "x" * 300}, "media[0]", "outside of the media roots"),
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
            {"media": "ok", "analyzers": [{"name": "labels", "options": {"fps": 0}}]},
            "analyzers[0].options",
            "allowed: a number above 0 to 60",
        ),
        ({"media": "ok", "priority": 11}, "priority", "less than or equal to 10"),
        ({"media": "ok", "labels": {"a b": "c"}}, "labels.a b", "pattern"),
        ({"media": "ok", "budget_usd": 0}, "budget_usd", "greater than 0"),
        ({"media": "ok", "webhook": {"url": "https://x.org", "secret": "short"}}, "webhook.secret", "at least 16"),
        (
            {"media": "ok", "webhook": {"url": "http://127.0.0.1/", "secret": "x" * 16}},
            "webhook.url",
            "not on the public internet",
        ),
        ({"media": "up_0123456789abcdef"}, "media[0]", "no such upload"),
        ({"media": "s3://videos/other/a.mp4"}, "media[0]", "allowed: s3://videos/public"),
        ({"media": "s3://videos/public/../other/a.mp4"}, "media[0]", "outside of media.storage"),
        ({"media": "s3://videos/public/a.mp4?endpoint_override=x"}, "media[0]", "outside of media.storage"),
        (
            {"media": "ok", "analyzers": ["labels", "horoscope"]},
            "analyzers[1]",
            "'horoscope': unknown analyzer; allowed: labels, scenes",
        ),
        ({"media": "ok", "analyser": ["labels"]}, "analyser", "unknown field"),
        ([], "body", "a JSON object is needed"),
        ("text", "body", "a JSON object is needed"),
    ],
)
def test_wrong_bodies_name_the_field_and_the_way_out(service: Running, body: Any, field: str, words: str) -> None:
    if isinstance(body, dict) and body.get("media") == "ok":
        body["media"] = str(service.media)
    reply = service.http.post("/v1/analyses", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert words in problem(reply, 422, field)["detail"]
    assert service.newest() == []


def test_all_wrong_values_are_named_at_once(service: Running) -> None:
    reply = service.http.post("/v1/analyses", json={"media": ["/a", str(service.media), "/b"], "analyzers": ["x"]})
    assert [e["field"] for e in problem(reply, 422, "analyzers[0]")["errors"]] == [
        "analyzers[0]",
        "media[0]",
        "media[2]",
    ]


@pytest.mark.parametrize("text", ["", "{", '{"media": "a",}', "\xff"])
def test_what_is_not_json_is_refused(service: Running, text: str) -> None:
    reply = service.http.post(
        "/v1/analyses", content=text.encode("latin-1"), headers={"Content-Type": "application/json"}
    )
    assert reply.status_code in (400, 422)
    problem(reply, reply.status_code, "body")


def test_a_body_of_another_type_is_refused(service: Running) -> None:
    reply = service.http.post("/v1/analyses", content='{"media": "/a"}', headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in problem(reply, 422, "body")["detail"]


def test_paths_that_leave_the_roots_by_a_link_or_name_folders_are_refused(service: Running) -> None:
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
def test_wrong_queries_name_the_field(service: Running, path: str, field: str) -> None:
    problem(service.http.get(path), 422, field)


def test_wrong_headers_name_the_field(service: Running) -> None:
    analysis_id = service.submit()["id"]
    for value in ("x", "-1", "9" * 30):
        reply = service.http.get(f"/v1/analyses/{analysis_id}/events", headers={"Last-Event-ID": value})
        problem(reply, 422, "last-event-id")
    reply = service.http.post("/v1/analyses", json={"media": "/a"}, headers={"Idempotency-Key": "k" * 256})
    problem(reply, 422, "idempotency-key")


@pytest.mark.parametrize("path", ["", "/results", "/events"])
def test_what_does_not_exist_is_a_problem_too(service: Running, path: str) -> None:
    problem(service.http.get(f"/v1/analyses/an_0000000000000000{path}"), 404, "id")
    problem(service.http.get("/v2/nothing"), 404, None)
    problem(service.http.delete("/v1/analyses"), 405, None)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}])
def test_every_route_but_health_is_closed(service: Running, headers: dict[str, str]) -> None:
    stranger = TestClient(service.app, headers=headers)
    open_ones = {"/v1/health", "/v1/ready"}
    routes = [(path, method) for path, methods in service.app.openapi()["paths"].items() for method in methods]
    assert len(routes) > 20
    for path, method in [*routes, ("/openapi.json", "get")]:
        ids = {"analysis_id": "an_0123456789abcdef", "upload_id": "up_0123456789abcdef"}
        named = path.format(**ids, number=1, index=0, name="insights.json")
        reply = stranger.request(method, named)
        if path in open_ones:
            assert reply.status_code == 200
        else:
            problem(reply, 401, None)
            assert reply.headers["www-authenticate"] == "Bearer"
    assert stranger.get("/v1/health").json() == {"status": "ok", "segments_running": 0}
    assert stranger.get("/docs").status_code == 404


def test_every_answer_has_security_headers_and_none_opens_it_to_other_sites(service: Running) -> None:
    for path in ("/v1/health", "/v1/analyses", "/v2/nothing", "/metrics"):
        headers = service.http.get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control")]


def test_a_crash_tells_nothing_of_the_inside(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_args: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Store, "standing", crash)
    assert "secret" not in str(problem(service.http.get("/v1/analyses/an_0123456789abcdef"), 500, None))


def test_a_database_that_is_away_asks_to_try_again(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    away = create_engine("sqlite:////no/such/folder/test.db")
    monkeypatch.setattr(service.service.store, "engine", away)
    reply = service.http.get("/v1/analyses")
    assert service.http.get("/v1/ready").status_code == 503
    problem(reply, 503, None)
    assert reply.headers["retry-after"] == "2"


def test_the_fleet_is_shown(service: Running) -> None:
    assert service.http.get("/v1/instances").json() == service.fleet.view


def test_events_end_with_the_analysis_and_resume(service: Running) -> None:
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


def test_events_come_as_they_happen_with_a_heartbeat_in_silence(service: Running) -> None:
    analysis_id = service.submit()["id"]

    async def read() -> list[str]:
        hub = EventHub(service.service.store, poll_s=0.01, heartbeat_s=0.05)
        frames = []
        async for frame in hub.frames(analysis_id):
            frames.append(frame)
            if len(frames) == 3:
                service.finish(analysis_id)
        assert hub.open_streams == 0
        return frames

    frames = asyncio.run(read())
    assert frames[1:3] == [": still here\n\n"] * 2
    assert [f.split("\n")[1] for f in frames if f.startswith("id")][-1] == "event: succeeded"


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
    assert MediaPolicy((), resolve=lambda _host: []).check("http://x.org/a.mp4")
