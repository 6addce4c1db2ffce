"""Uploads, whole and in parts, and pictures that are analysed at once."""

import json
from pathlib import Path
from threading import Thread

import pytest

from pipelines.media.media_types import sniff
from tests.support.product.service import Running, problem
from tests.waiting import wait_until

MP4 = b"\x00\x00\x00\x18ftypisom" + b"x" * 2488
PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 100


def begin(service: Running, size: int = len(MP4)) -> dict[str, object]:
    reply = service.http.post("/v1/uploads", json={"name": "a.exe", "size_bytes": size})
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def test_parts_may_come_in_any_order_and_again(service: Running) -> None:
    upload = begin(service)
    here = f"/v1/uploads/{upload['id']}"
    assert [(p["number"], p["size_bytes"], p["done"]) for p in upload["parts"]] == [  # type: ignore[attr-defined]
        (1, 1000, False),
        (2, 1000, False),
        (3, 500, False),
    ]
    for number in (3, 1, 1):
        content = MP4[(number - 1) * 1000 : number * 1000]
        assert service.http.put(f"{here}/parts/{number}", content=content).status_code == 204
    assert "missing or cut: 2" in problem(service.http.post(f"{here}/complete"), 409, None)["detail"]
    left = [p for p in service.http.get(here).json()["parts"] if not p["done"]]
    assert [p["url"] for p in left] == [f"{here}/parts/2"]
    assert service.http.put(left[0]["url"], content=MP4[1000:2000]).status_code == 204
    done = service.http.post(f"{here}/complete").json()
    assert (done["state"], done["media_type"], done["parts"]) == ("complete", "video/mp4", [])
    assert service.http.post(f"{here}/complete").json() == done
    view = service.submit(media=upload["id"])
    (uri,) = view["media"]
    assert Path(uri).read_bytes() == MP4
    assert service.http.delete(here).status_code == 204
    assert not Path(uri).exists()
    problem(service.http.get(here), 404, "id")


def test_what_has_not_its_size_is_refused(service: Running) -> None:
    here = f"/v1/uploads/{begin(service)['id']}"
    problem(service.http.put(f"{here}/parts/1", content=b"x" * 1001), 413, None)
    assert "send all of it again" in problem(service.http.put(f"{here}/parts/1", content=b"x"), 409, None)["detail"]
    assert "its parts are 1 to 3" in problem(service.http.put(f"{here}/parts/4", content=b"x"), 409, None)["detail"]
    problem(service.http.post("/v1/uploads", json={"name": "a", "size_bytes": 5001}), 413, "size_bytes")
    problem(service.http.post("/v1/uploads", json={"name": "a", "size_bytes": 0}), 422, "size_bytes")
    problem(service.http.post("/v1/uploads", content=b"nothing"), 422, "body")


def test_a_file_is_what_its_bytes_say(service: Running) -> None:
    script = b"#!/bin/sh\nrm -rf /\n"
    here = f"/v1/uploads/{begin(service, len(script))['id']}"
    assert service.http.put(f"{here}/parts/1", content=script).status_code == 204
    assert "no video, audio or image" in problem(service.http.post(f"{here}/complete"), 409, None)["detail"]
    problem(service.http.get(here), 404, "id")
    assert not list(Path(service.service.objects.base_uri).rglob("content*"))


def test_a_whole_file_comes_in_a_form(service: Running) -> None:
    reply = service.http.post("/v1/uploads", files={"file": ("../../etc/passwd", MP4)})
    assert (reply.status_code, reply.json()["state"]) == (201, "complete")
    assert service.submit(media=reply.json()["id"])["state"] == "queued"
    problem(service.http.post("/v1/uploads", files={"other": ("a", MP4)}), 422, "file")
    problem(service.http.post("/v1/uploads", files={"file": ("a", b"\x00" * 80_000)}), 413, None)


def test_an_upload_that_only_it_used_goes_with_the_analysis(service: Running) -> None:
    upload = service.http.post("/v1/uploads", files={"file": ("a.mp4", MP4)}).json()
    first, second = (service.submit(media=upload["id"]) for _ in range(2))
    (uri,) = first["media"]
    for view, left in ((first, True), (second, False)):
        assert service.http.delete(f"/v1/analyses/{view['id']}?forever=true").status_code == 204
        assert Path(uri).exists() is left


def test_an_open_upload_is_no_media(service: Running) -> None:
    reply = service.http.post("/v1/analyses", json={"media": begin(service)["id"]})
    assert "is not complete" in problem(reply, 422, "media[0]")["detail"]


def test_abandoned_uploads_go_after_a_day(service: Running) -> None:
    begin(service)
    assert service.service.uploads.abandoned() == []
    service.clock[0] += 24 * 3600
    assert len(service.service.uploads.abandoned()) == 1


def test_a_picture_is_answered_at_once_or_later(service: Running) -> None:
    later = service.http.post("/v1/images:analyze?wait_s=0", content=PNG, headers={"Content-Type": "image/png"})
    assert later.status_code == 202
    assert later.json()["priority"] == 10
    before = set(service.newest())
    answers: list[object] = []

    def ask() -> None:
        answers.append(service.http.post("/v1/images:analyze?wait_s=60", json={"image": str(service.media)}))

    asking = Thread(target=ask)
    asking.start()
    (new,) = wait_until("the picture's analysis is stored", lambda: set(service.newest()) - before)
    service.finish(new)
    asking.join(60)
    (reply,) = answers
    assert reply.status_code == 200  # type: ignore[attr-defined]
    found = json.loads(reply.text)  # type: ignore[attr-defined]
    assert found["media"][0]["analyzers"]["labels"][0]["labels"][0]["label"] == "golden retriever"
    reply = service.http.post("/v1/images:analyze", content=b"no picture", headers={"Content-Type": "image/png"})
    problem(reply, 422, "body")
    problem(service.http.post("/v1/images:analyze", json={"picture": "x"}), 422, "image")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (MP4, "video/mp4"),
        (b"\x00\x00\x00\x18ftypavif", "image/avif"),
        (b"RIFF\x00\x00\x00\x00WAVE", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00WAXX", None),
        ((b"G" + b"\x00" * 187) * 3, "video/mp2t"),
        ((b"\x00" * 4 + b"G" + b"\x00" * 187) * 3, "video/mp2t"),
        (b"\x1aE\xdf\xa3" + b"\x00" * 9, "video/x-matroska"),
        (PNG, "image/png"),
        (b"<html>", None),
        (b"#EXTM3U\n/etc/passwd", None),
        (b"", None),
    ],
)
def test_media_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind
