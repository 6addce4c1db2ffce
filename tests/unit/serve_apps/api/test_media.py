"""Media that is played beside its results: bytes of media to holders of a proof, and nothing else to anybody."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cluster.storage.database import open_engine
from serve_apps.api.app import create_app
from serve_apps.api.context import Service
from serve_apps.api.media_policy import MediaPolicy
from tests.support.product.service import BEARER, FakeFleet, build_prober, build_service

VIDEO = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
NOW = 1_700_000_000.0


class Player:
    """The API as a player sees it."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.now = NOW
        self.folder = folder
        (folder / "media").mkdir(exist_ok=True)
        self.engine = open_engine(f"sqlite:///{folder / 'test.db'}")
        self.service: Service = build_service(
            self.engine, lambda: self.now, folder, FakeFleet(), lambda _id: None, **changed
        )
        self.http = TestClient(create_app(self.service, build_prober()), raise_server_exceptions=False)

    def analysed(self, media: str) -> str:
        reply = self.http.post("/v1/analyses", json={"media": media}, headers=BEARER)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def item(self, analysis_id: str, index: int = 0) -> Any:
        return self.http.get(f"/v1/analyses/{analysis_id}/media/{index}", headers=BEARER)

    def play(self, url: str, wanted: str | None = None) -> Any:
        return self.http.get(f"/{url}", headers={} if wanted is None else {"Range": wanted})


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    player = Player(tmp_path)
    (tmp_path / "media" / "clip.mp4").write_bytes(VIDEO)
    yield player
    player.engine.dispose()


def test_a_file_plays_whole_and_in_ranges(player: Player) -> None:
    item = player.item(player.analysed(f"{player.folder}/media/clip.mp4")).json()
    assert (item["media_type"], item["reason"]) == ("video/mp4", None)
    whole = player.play(item["url"])
    assert (whole.status_code, whole.content) == (200, VIDEO)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-security-policy"] == "default-src 'none'; sandbox"
    part = player.play(item["url"], "bytes=4-11")
    assert (part.status_code, part.content) == (206, VIDEO[4:12])
    assert part.headers["content-range"] == f"bytes 4-11/{len(VIDEO)}"
    assert player.play(item["url"], f"bytes={len(VIDEO)}-").status_code == 416


def test_only_a_living_proof_for_just_this_item_opens_it(player: Player) -> None:
    clip = f"{player.folder}/media/clip.mp4"
    item = player.item(player.analysed(clip)).json()
    other = player.analysed(clip)
    path, _, proof = item["url"].partition("?")
    assert player.play(f"v1/analyses/{other}/media/0/content?{proof}").status_code == 401
    assert player.play(f"{path}?{proof[:-1]}").status_code == 401
    assert player.play(path).status_code == 401
    assert player.http.get(f"/v1/analyses/{other}/media/0").status_code == 401
    player.now += 3600
    assert player.play(item["url"]).status_code == 401


def test_what_is_no_media_is_not_handed_out(player: Player) -> None:
    (player.folder / "media" / "secret.mp4").write_text("password: 1234")
    analysis_id = player.analysed(f"{player.folder}/media/secret.mp4")
    item = player.item(analysis_id).json()
    assert (item["url"], item["reason"]) == (None, "its first bytes are of no video, audio or image format")
    good = player.item(player.analysed(f"{player.folder}/media/clip.mp4")).json()["url"]
    (player.folder / "media" / "clip.mp4").write_text("password: 1234")  # it changed after the proof was made
    assert player.play(good).status_code == 404
    (player.folder / "media" / "clip.mp4").unlink()
    assert "no such file" in player.play(good).json()["detail"]
    assert player.item(analysis_id, 1).json()["detail"].endswith("has no media item 1")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Another host: it serves a video, and redirects to it."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(VIDEO)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/clip.mp4")
                self.end_headers()
            else:
                super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_media_of_another_host_comes_through_us_as_what_it_is(tmp_path: Path, host: str) -> None:
    player = Player(tmp_path, policy=MediaPolicy((), allow_private_hosts=True))
    item = player.item(player.analysed(f"{host}/moved")).json()
    played = player.play(item["url"])
    assert (played.status_code, played.content, played.headers["content-type"]) == (200, VIDEO, "video/mp4")
    missing = player.item(player.analysed(f"{host}/nothing.mp4")).json()
    assert (missing["url"], missing["reason"]) == (None, "its host does not hand it out: HTTPStatusError")
    player.engine.dispose()


def test_a_host_inside_is_not_reached_through_us(tmp_path: Path, host: str) -> None:
    """As after a change of the settings, or of what a name resolves to: it is judged when it is read."""
    player = Player(tmp_path, policy=MediaPolicy((), allow_private_hosts=True))
    analysis_id = player.analysed(f"{host}/clip.mp4")
    strict = Player(tmp_path, policy=MediaPolicy((), resolve=lambda _host: []))
    item = strict.item(analysis_id).json()
    assert (item["url"], item["reason"]) == (None, "its host does not hand it out: NotAllowed")
    for each in (player, strict):
        each.engine.dispose()
