"""The blocking and the asyncio client, and the command line, against the real API over real connections that break."""

import asyncio
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from cluster.cli import main
from cluster.client import ApiError, AsyncClient, Client, Unreachable
from tests.support.product.service import TOKEN
from tests.support.product.serving import Served, serving
from tests.support.samples import media
from tests.waiting import wait_until

Aima = Callable[..., Any]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.build("h264-mp4", tmp_path_factory.mktemp("media")).path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("service"), clip.parent) as served:
        served.go_on.set()
        yield served


@pytest.fixture(scope="module")
def finished(served: Served, clip: Path) -> str:
    """An analysis that has succeeded."""
    with Client(served.url, TOKEN) as client:
        view = client.wait(client.submit(str(clip), ["labels"])["id"], timeout_s=180)
    assert view["state"] == "succeeded", view["error"]
    return str(view["id"])


@pytest.fixture(params=["blocking", "asyncio"])
def call(served: Served, request: pytest.FixtureRequest) -> Aima:
    """Calls a method of either client and returns its answer; what an iterator gives, as a list."""

    def blocking(name: str, *args: Any, **options: Any) -> Any:
        with Client(served.url, TOKEN) as client:
            answer = getattr(client, name)(*args, **options)
            return list(answer) if isinstance(answer, Iterator) else answer

    def awaited(name: str, *args: Any, **options: Any) -> Any:
        async def run() -> Any:
            async with AsyncClient(served.url, TOKEN) as client:
                answer = getattr(client, name)(*args, **options)
                return [item async for item in answer] if hasattr(answer, "__aiter__") else await answer

        return asyncio.run(run())

    return blocking if request.param == "blocking" else awaited


def test_from_submission_to_records(call: Aima, clip: Path) -> None:
    view = call("submit", [str(clip)], ["labels"], labels={"project": "x"})
    view = call("wait", view["id"], timeout_s=180)
    assert (view["state"], view["labels"]) == ("succeeded", {"project": "x"})
    table = call("table", view["id"], "labels")
    assert table.num_rows == view["progress"]["frames"] > 0
    assert [len(row) for row in table["labels"].to_pylist()] == [5] * table.num_rows
    assert call("dataframe", view["id"], "labels")["time_s"].tolist() == table["time_s"].to_pylist()
    lines = [json.loads(line) for line in call("ndjson", view["id"]).splitlines()]
    assert len(lines) == table.num_rows
    assert view["id"] in [found["id"] for found in call("analyses", label="project:x")["analyses"]]


@pytest.fixture(scope="module")
def cut(served: Served, clip: Path) -> str:
    """An analysis of two media, the first of which has failed, with shots: of those every video has one."""
    broken = clip.with_name("no-video.mp4")
    broken.write_text("no video")
    with Client(served.url, TOKEN) as client:
        view = client.wait(client.submit([str(broken), str(clip)], ["labels", "scenes"])["id"], timeout_s=180)
    assert view["state"] == "partial", view
    return str(view["id"])


def test_insights_have_their_ranges_of_time(call: Aima, cut: str, clip: Path) -> None:
    found = call("insights", cut, 1)
    assert found["media"] == clip.name
    shots = [insight["ranges"] for insight in found["insights"] if insight["analyzer"] == "scenes"]
    assert [len(ranges) for ranges in shots] == [1] * len(shots)
    assert (shots[0][0]["start_s"], shots[-1][0]["end_s"]) == (0.0, found["duration_s"])
    with pytest.raises(ApiError, match="there is no whole result") as refused:
        call("insights", cut)
    assert refused.value.status == 404


def test_insights_are_written_of_one_media_item(aima: Aima, cut: str, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "insights.json"
    assert aima("results", cut, "--format", "insights", "--media", "1", "--output", str(target))[0] == 0
    found = json.loads(target.read_text())
    assert found["media"] == clip.name
    shots = [insight for insight in found["insights"] if insight["analyzer"] == "scenes"]
    code, out, _ = aima("results", cut, "--format", "insights", "--media", "1", "--analyzer", "scenes")
    assert (code, json.loads(out)) == (0, found | {"insights": shots})
    code, _, error = aima("results", cut, "--format", "insights")
    assert (code, "has 2: name one, 0 to 1" in words(error)) == (2, True), error
    code, _, error = aima("results", cut, "--format", "insights", "--media", "0")
    assert (code, "there is no whole result" in words(error)) == (4, True), error
    code, out, _ = aima("results", cut, "--format", "json", "--analyzer", "scenes", "--media", "1")
    first, second = json.loads(out)["media"]
    assert (first["analyzers"]["labels"], second["analyzers"]["labels"]) == ([], [])


def words(text: str) -> str:
    """What a terminal says, without its frames and line ends."""
    return " ".join(text.replace("│", " ").split())


def test_events_come_once_and_resume(call: Aima, finished: str) -> None:
    events = call("events", finished)
    assert [events[0]["kind"], events[-1]["kind"]] == ["queued", "succeeded"]
    assert call("events", finished, 10**6) == []


def test_a_file_is_uploaded_in_parts_and_found_whole(call: Aima, served: Served, tmp_path: Path, clip: Path) -> None:
    big = tmp_path / "big.mp4"
    big.write_bytes(clip.read_bytes() + b"\0" * (600 << 10))  # a part has 256 KiB here
    sent: list[int] = []
    upload_id = call("upload", big, sent.append)
    assert sent == sorted(sent)
    assert (len(sent), sent[-1]) == (4, big.stat().st_size)
    stored = served.storage / "uploads" / upload_id / "content"
    assert stored.read_bytes() == big.read_bytes()
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    with pytest.raises(ApiError, match="no video, audio or image format"):
        call("upload", text)


def test_refusals_name_the_field(call: Aima) -> None:
    with pytest.raises(ApiError, match="not allowed") as refused:
        call("submit", "/no/such/nothing.mp4")
    assert (refused.value.status, refused.value.field) == (422, "media[0]")
    with pytest.raises(ApiError, match="there is no analysis"):
        call("analysis", "an_0000000000000000")


def test_the_other_calls(call: Aima, finished: str) -> None:
    assert {one["name"] for one in call("analyzers")["analyzers"]} >= {"labels", "scenes"}
    assert call("instances")["instances"] == []
    assert (call("costs")["month_usd"], call("costs")["media_minutes"] > 0) == (None, True)
    assert call("health")["status"] == "ok"
    assert call("results", finished, media_index=0)["parts"]
    with pytest.raises(ApiError, match="nothing to try again"):
        call("retry", finished)


class _Breaking(httpx.HTTPTransport):
    """A real connection whose first answers are lost after the server has done its work."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        reply = super().handle_request(request)
        if self.losses > 0:
            self.losses -= 1
            reply.read()
            raise httpx.ReadTimeout("the answer was lost", request=request)
        return reply


def test_an_answer_that_is_lost_does_not_double_an_analysis(served: Served, clip: Path) -> None:
    with Client(served.url, TOKEN) as plain:
        before = len(plain.analyses(limit=100)["analyses"])
        with Client(served.url, TOKEN, _Breaking(losses=2)) as client:
            view = client.submit(str(clip), ["labels"])
        assert len(plain.analyses(limit=100)["analyses"]) == before + 1
        assert plain.cancel(view["id"])["state"] in ("cancelled", "succeeded")


def test_a_cut_stream_is_resumed_where_it_broke(served: Served, clip: Path) -> None:
    served.go_on.clear()
    with Client(served.url, TOKEN) as client:
        analysis_id = client.submit(str(clip), ["labels"])["id"]
        events = client.events(analysis_id)
        first = [next(events), next(events)]
        served.cut()
        served.go_on.set()
        kinds = [event["kind"] for event in [*first, *events]]
    assert kinds == ["queued", "planned", "first_frame", "segment_done", "succeeded"]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.client.retrying.GIVE_UP_AFTER_S", 0.0)
    with Client("http://127.0.0.1:9", TOKEN) as client, pytest.raises(Unreachable, match="does not answer"):
        client.health()


@pytest.fixture
def aima(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Aima:
    """Runs the command line against the API as on another machine; returns (exit code, standard output, error)."""
    key = tmp_path / "key"
    key.write_text(TOKEN)
    monkeypatch.setenv("AIMA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AIMA_API__URL", served.url)
    monkeypatch.setenv("AIMA_API__KEY_FILE", str(key))

    def run(*arguments: str) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["aima", *arguments])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, error = capfdbinary.readouterr()
        return int(ended.value.code or 0), out, error.decode()

    return run


def test_the_commands_that_a_day_needs(aima: Aima, clip: Path, tmp_path: Path) -> None:
    code, out, error = aima("analyze", str(clip), "--analyzers", "labels", "--label", "day=1", "--wait", "--json")
    view = json.loads(out)
    assert (code, view["state"], view["labels"]) == (0, "succeeded", {"day": "1"}), error
    assert "best score" in error
    code, out, _ = aima("results", view["id"], "--format", "ndjson")
    assert (code, len(out.splitlines())) == (0, view["progress"]["frames"])
    target = tmp_path / "labels.parquet"
    code, _, _ = aima("results", view["id"], "--format", "parquet", "--analyzer", "labels", "--output", str(target))
    assert (code, pq.read_table(target).num_rows) == (0, view["progress"]["frames"])
    assert json.loads(aima("results", view["id"], "--format", "insights")[1])["media"] == clip.name
    code, out, _ = aima("results", view["id"], "--format", "json")
    assert json.loads(out)["id"] == view["id"]
    seen = json.loads(out)["media"][0]["analyzers"]["labels"][0]["labels"][0]["label"]
    wait_until("it can be searched", lambda: json.loads(aima("search", seen, "--json")[1])["hits"], 60)
    assert seen in aima("search", seen)[2]
    code, out, error = aima("status", "--json")
    assert json.loads(out)["analyses"][0]["id"] == view["id"]
    assert "0 instances, nothing is billed" in error
    assert "labels" in aima("analyzers")[2]
    assert "s of media" in aima("estimate", str(clip))[2]
    spent = json.loads(aima("costs", "--spent", "--json")[1])
    assert (spent["month_usd"], spent["analyses_usd"], spent["media_minutes"] > 0) == (None, 0.0, True)
    assert b"minutes of media" in aima("costs", "--spent")[1]


def test_of_several_media_one_that_cannot_be_read_is_named_and_the_others_are_there(aima: Aima, clip: Path) -> None:
    broken = clip.with_name("broken.mp4")
    broken.write_text("no video")
    code, out, error = aima("analyze", str(broken), str(clip), "--analyzers", "labels", "--wait", "--json")
    view = json.loads(out)
    assert (code, view["state"], [failed["index"] for failed in view["failed_media"]]) == (1, "partial", [0]), error
    assert "partial: 1 of 2 media failed, the first by broken.mp4: " in error
    assert "failed: broken.mp4: " in error
    assert "best score" in error


def test_exit_codes_tell_what_happened(aima: Aima, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, _, error = aima("results", "an_0000000000000000")
    assert (code, "there is no analysis" in error) == (4, True)
    assert aima("analyze", "/no/such/nothing.mp4")[0] == 4
    assert aima("analyze", "a.mp4", "--label", "nonsense")[0] == 2
    assert aima("results", "an_0000000000000000", "--format", "parquet")[0] == 2
    monkeypatch.setenv("AIMA_API__KEY_FILE", str(tmp_path / "nothing"))
    code, _, error = aima("status")
    assert (code, "cannot be read" in error) == (3, True)


def test_the_page_opens_through_a_file_that_only_its_owner_can_read(
    aima: Aima, monkeypatch: pytest.MonkeyPatch, served: Served, tmp_path: Path
) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    code, _, error = aima("open")
    assert code == 0, error
    door = Path(opened[0].removeprefix("file://"))
    assert door.stat().st_mode & 0o777 == 0o600
    assert f"{served.url}/#token=a%20token" in door.read_text()
    assert aima("open", "--print")[1].startswith(f"{served.url}/#token=".encode())


def test_a_parquet_answer_is_a_whole_file(call: Aima, finished: str) -> None:
    assert pq.read_table(io.BytesIO(call("parquet", finished, "labels"))).num_rows > 0
