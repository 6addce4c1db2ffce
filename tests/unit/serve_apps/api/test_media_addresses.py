"""Attacks by the addresses of media: against the real application, with a reader that really opens what it is given."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from pipelines.errors import MediaError
from pipelines.media.addresses import AddressRefused
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.media_types import sniff
from serve_apps.api.app import create_app
from serve_apps.api.media_policy import MediaPolicy, MediaRefused
from serve_apps.store.keys import Scope
from serve_apps.work.prober import Prober
from tests.support.product.service import BEARER, INFO, Running, problem


class Inside:
    """A server inside the network: whoever reaches it has got past the policy."""

    def __init__(self) -> None:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ami-id\n")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.asked = asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def inside() -> Iterator[Inside]:
    found = Inside()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture(scope="module")
def processes() -> DecodeProcesses:
    return DecodeProcesses(10.0, credentials=False)


@pytest.mark.parametrize(
    "form",
    [
        "HTTP://127.0.0.1:{port}/latest/meta-data/",
        "hTtP://LOCALHOST:{port}/latest/meta-data/",
        "http://localhost.:{port}/",
        "http://127.0.0.1.:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://127.1:{port}/",
        "http://0x7f.1:{port}/",
        "http://2130706433:{port}/",
        "http://public.example@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@public.example/",
        "http://127\u30020\u30020\u30021:{port}/",
        "http://%31%32%37.0.0.1:{port}/",
        "http://0:{port}/",
        "http://127.0.0.1:{port}/#trusted",
        "HTTP://localhost:{port}/#trusted",
    ],
)
def test_no_form_of_an_inner_address_is_reached(
    service: Running, inside: Inside, processes: DecodeProcesses, form: str
) -> None:
    made = service.service
    app = create_app(made, Prober(processes.probe, made.readable))
    _key, token = made.keys.create("a reader", {Scope.READ, Scope.SUBMIT})
    body = {"media": form.format(port=inside.server.server_port), "analyzers": ["labels"]}
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False) as http:
        for path in ("/v1/estimates", "/v1/analyses"):
            assert http.post(path, json=body).status_code == 422
        webhook = {"url": body["media"], "secret": "x" * 16}
        named = {"media": str(service.media), "webhook": webhook}
        problem(http.post("/v1/analyses", json=named), 422, "webhook.url")
    # Also where the door was wrong: the reader itself goes nowhere.
    with pytest.raises((MediaError, AddressRefused)):
        processes.probe(form.format(port=inside.server.server_port).partition("#")[0])
    assert inside.asked == []


def test_a_refusal_tells_nothing_of_what_is_inside(service: Running) -> None:
    link = service.media.parent / "link"
    link.symlink_to("/etc")
    there, not_there = "/etc/passwd", "/etc/no-such-file"
    told = []
    for path in (there, not_there, f"file://{there}", f"{link}/passwd", f"{link}/no-such-file"):
        reply = service.http.post("/v1/analyses", json={"media": path})
        told.append(problem(reply, 422, "media[0]")["detail"].partition(": ")[2])
    assert len(set(told)) == 1
    assert "not allowed" in told[0]
    policy = MediaPolicy((), resolve=lambda _host: ["10.1.2.3"])
    with pytest.raises(MediaRefused, match="not allowed") as refused:
        policy.check("http://db.internal/a.mp4")
    assert "10.1.2.3" not in str(refused.value)


def test_files_may_be_named_by_the_owner_alone_unless_the_deployment_names_folders(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    policy = MediaPolicy((), owner_roots=("/",))
    assert policy.check(str(clip), by_owner=True) == str(clip)
    for words in (policy, MediaPolicy(())):
        with pytest.raises(MediaRefused, match="not allowed: files of the service's machine"):
            words.check(str(clip))
    assert MediaPolicy((str(tmp_path),)).check(str(clip)) == str(clip)


ODD = ("file:///a%00b.mp4", "file:///%0a", "s3://videos/public/../x", "file:///" + "x/" * 4000)


@pytest.mark.parametrize("uri", ODD)
def test_odd_addresses_are_refused_and_crash_nothing(service: Running, uri: str) -> None:
    for path in ("/v1/estimates", "/v1/analyses"):
        assert service.http.post(path, json={"media": uri}).status_code == 422


SECRET = "hunter2-hunter2-hunter2"
WITH_CREDENTIALS = (
    f"https://user:{SECRET}@media.example/a.mp4",
    f"https://media.example/b.mp4?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}",
    f"HTTPS://media.example/c.mp4?token={SECRET}#{SECRET}",
)


def test_credentials_of_media_are_neither_stored_nor_shown_and_still_open_the_file(
    service: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.public_hosts.add("media.example")
    hook = {"url": f"https://user:{SECRET}@media.example/hook?token={SECRET}", "secret": "x" * 16}
    body: dict[str, Any] = {"media": list(WITH_CREDENTIALS), "analyzers": ["labels"], "webhook": hook}
    view = service.submit(**body)
    here = f"/v1/analyses/{view['id']}"
    told = [view, service.http.post("/v1/estimates", json={"media": body["media"]}).json()]
    service.finish(view["id"])
    links = ["", "/results", "/media/0", "/media/1", "/webhooks"]
    told += [service.http.get(here + link).text for link in links]
    told += [service.http.get("/v1/analyses").text, service.http.get("/v1/export").text]
    told.append(service.http.get("/v1/search?q=dog").text)
    told.append(service.http.get(here + "/results", headers={"Accept": "application/x-ndjson"}).text)
    told.append(service.http.post("/v1/analyses", json={"media": f"ftp://user:{SECRET}@media.example/"}).text)
    told.append(service.http.post("/v1/analyses", json={"media": [f"{WITH_CREDENTIALS[0]}\n", 1]}).text)
    assert [one for one in told if SECRET in str(one)] == []
    assert SECRET not in caplog.text
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
    assert b"media.example/a.mp4" in stored
    assert SECRET.encode() not in stored
    analysis = service.service.store.get(view["id"])
    assert analysis is not None
    opened = [service.service.readable(uri) for uri in analysis.media]
    assert opened == [WITH_CREDENTIALS[0], WITH_CREDENTIALS[1], f"https://media.example/c.mp4?token={SECRET}"]


def test_sealed_credentials_are_of_no_use_elsewhere(service: Running) -> None:
    """Whoever sends back what they have read in a database opens nothing with it."""
    sealed = service.service.credentials.seal(WITH_CREDENTIALS[0])
    service.public_hosts.add("media.example")
    view = service.submit(media=sealed)
    analysis = service.service.store.get(view["id"])
    assert analysis is not None
    assert service.service.readable(analysis.media[0]) == "https://media.example/a.mp4"


TEXT = b"BM is how this letter begins, and it goes on for a while: " + b"password 1234 " * 20


@pytest.mark.parametrize(
    "head",
    [
        TEXT,
        TEXT.replace(b" ", b"\0"),
        b"BM" + bytes(200),
        b"ID3 is a tag, they say" + bytes(20),
        b"GIF8 or not" + bytes(20),
        b"#!AMR/bin/sh" + bytes(20),
        b"OggS is a name" + bytes(20),
        b"FLV\x01 secret" + bytes(20),
        b"textftypically" + bytes(20),
        b"RIFF1234WAVE of mutilation, said the text",
        (b"G" + b"x" * 187) * 4,
        b"",
    ],
)
def test_a_signature_alone_makes_no_media_of_a_file(head: bytes) -> None:
    assert sniff(head) is None


def test_pictures_and_sound_are_still_known() -> None:
    bitmap = b"BM" + (1078).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    bitmap += (40).to_bytes(4, "little") + bytes(8) + b"\1\0" + b"\x18\0" + bytes(24)
    known = {
        bitmap: "image/bmp",
        b"GIF89a\x01\0\x01\0": "image/gif",
        b"ID3\x04\0\0\0\0\0\x0a": "audio/mpeg",
        b"fLaC\0\0\0\x22" + bytes(8): "audio/flac",
        b"#!AMR\n\x3c" + bytes(8): "audio/amr",
        b"II*\0\x08\0\0\0" + bytes(8): "image/tiff",
        b"FLV\x01\x05\0\0\0\x09": "video/x-flv",
        b"\xff\xfb\x90\x64": "audio/mpeg",
    }
    assert {sniff(head): kind for head, kind in known.items()} == {kind: kind for kind in known.values()}


def test_a_text_that_begins_like_a_bitmap_is_not_handed_out(service: Running) -> None:
    service.media.write_bytes(TEXT)
    item = service.http.get(f"/v1/analyses/{service.submit()['id']}/media/0").json()
    assert (item["url"], item["media_type"]) == (None, None)


def test_a_thousand_hosts_are_looked_up_side_by_side_and_slow_ones_are_not_waited_for() -> None:
    stuck = threading.Event()

    def resolve(host: str) -> list[str]:
        if host == "slow.example":
            stuck.wait(30)
        time.sleep(0.01)
        return ["10.0.0.1"] if host.startswith("inside") else ["93.184.216.34"]

    policy = MediaPolicy((), resolve=resolve)
    names = ["slow.example", "inside.example", *(f"{n}.example" for n in range(998))]
    began = time.monotonic()
    judged = policy.check_all([f"https://{name}/a.mp4" for name in names])
    took_s = time.monotonic() - began
    stuck.set()
    assert [bool(one.refusal) for one in judged[:3]] == [False, True, False]
    assert took_s < 8  # one after the other they take ten seconds, and the slow one thirty


def test_names_of_one_key_that_resolve_slowly_keep_nobody_else_waiting(service: Running) -> None:
    stuck, resolving = threading.Event(), threading.Semaphore(0)

    def resolve(host: str) -> list[str]:
        resolving.release()
        stuck.wait(30)
        return ["93.184.216.34"]

    policy = MediaPolicy((str(service.media.parent),), resolve=resolve)
    made = replace(service.service, policy=policy)
    _key, token = made.keys.create("slow", {Scope.SUBMIT, Scope.READ})
    app = create_app(made, Prober(lambda uri: INFO, str))
    slow = {"Authorization": f"Bearer {token}"}

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as http:
            body = {"media": "https://slow.example/a.mp4"}
            waiting = [asyncio.create_task(http.post("/v1/analyses", json=body, headers=slow)) for _ in range(60)]
            await asyncio.to_thread(resolving.acquire)
            began = time.monotonic()
            mine = await http.post("/v1/analyses", json={"media": str(service.media)}, headers=BEARER)
            ready = await http.get("/v1/ready")
            assert time.monotonic() - began < 2.5  # the slow names have three seconds each
            stuck.set()
            return [mine.status_code, ready.status_code, *{(await one).status_code for one in waiting}]

    assert asyncio.run(ask()) == [202, 200, 202]
