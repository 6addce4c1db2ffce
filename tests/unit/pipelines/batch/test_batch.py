"""Planning a batch job, its command line, and what it leaves for the run after a crash."""

import heapq
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Event

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("av")

from pipelines.analyzers.registry import default_analyzers
from pipelines.batch import command_line, run
from pipelines.batch.command_line import parse
from pipelines.batch.job import BatchJob, BatchResult, Outcome, Plan, in_chunks
from pipelines.batch.outcomes import OtherJob, Outcomes, for_now, media_key
from pipelines.batch.run import TooManyErrors, _check_errors, wanted_actors
from pipelines.batch.segments import plan
from pipelines.batch.still_images import PictureJobs, with_media
from pipelines.batch.summaries import Wholes
from pipelines.errors import MediaUnavailable
from pipelines.media.sources import probe
from tests.support.samples import media


def test_a_job_is_planned_around_bad_files(tmp_path: Path) -> None:
    good = str(media.build("h264-mp4", tmp_path).path)
    media.empty(tmp_path)
    tasks, result = plan(BatchJob((str(tmp_path),), "out", ("labels",), segment_s=0.8), probe)
    key = media_key(good)
    assert list(tasks) == [f"{key}-{n:05d}-gpu" for n in range(3)]
    assert {task.output_uri for task in tasks.values()} == {f"out/media/{key}"}
    assert (result.media, result.segments, result.status) == (2, 3, "failed")
    assert [error["error"] for error in result.errors] == ["empty.mp4: the file is empty"]


def test_ranges_touch_only_their_segments(tmp_path: Path) -> None:
    path = str(media.build("h264-mp4", tmp_path).path)
    job = BatchJob((path,), "out", ("labels",), sampling="all,1s-1.2s", segment_s=0.8)
    tasks, _ = plan(job, probe)
    assert [task.segment.index for task in tasks.values()] == [1]


def test_keys_are_stable_and_hide_presigned_queries() -> None:
    assert media_key("https://a/b/clip.mp4?X-Signature=1") == media_key("https://a/b/clip.mp4?X-Signature=2")
    assert media_key("/a/clip.mp4") != media_key("/b/clip.mp4")
    assert media_key("/a/b c/ü.mp4").startswith("_.mp4-")


def test_sound_among_videos_is_heard_and_its_lack_of_a_picture_is_an_error(tmp_path: Path) -> None:
    sound = str(media.audio_only(tmp_path))
    tasks, result = plan(BatchJob((sound,), "out", ("labels", "speech")), probe)
    assert list(tasks) == [f"{media_key(sound)}-00000-cpu"]
    assert [(e["media_uri"], e["error"].split(";")[0]) for e in result.errors] == [
        (sound, "silence.wav: labels cannot analyse this file: it has no picture")
    ]


def pictures(folder: Path, count: int) -> list[str]:
    for number in range(count):
        (folder / f"{number:03d}.jpg").touch()
    return [str(folder / f"{number:03d}.jpg") for number in range(count)]


def test_pictures_are_bundled_and_what_is_done_is_not_bundled_again(tmp_path: Path) -> None:
    uris = pictures(tmp_path, 10)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "clip.mp4").touch()
    job = BatchJob((str(tmp_path),), "out", ("labels", "text"), kind="images")
    jobs = PictureJobs(together=4)
    fresh = jobs.plan(job, {})
    assert {name.rpartition("-")[2]: len(fresh.left(name.rpartition("-")[2])) for name in fresh.tasks} == {
        "gpu": 3,
        "cpu": 3,
    }
    gpu = fresh.left("gpu")
    assert [task.media_uris for task in gpu.values()] == [tuple(uris[:4]), tuple(uris[4:8]), tuple(uris[8:])]
    assert {(task.analyzers, task.media_s) for task in gpu.values()} == {(("labels",), 2.0), (("labels",), 1.0)}
    (_, middle, _) = gpu
    finished = {middle: {"name": middle, "pictures": uris[4:8], "errors": [], "parts": {}}}
    resumed = jobs.plan(job, finished)
    assert resumed.done == finished
    assert resumed.left("gpu") == {name: task for name, task in gpu.items() if name != middle}
    assert resumed.left("cpu") == fresh.left("cpu")
    assert (resumed.result.media, resumed.result.segments) == (10, 6)


class Notes:
    """A kind of media that notes what was whole."""

    unit = "items"

    def __init__(self) -> None:
        self.whole: list[list[str]] = []

    def at_once(self, job: BatchJob, lane: str, cores: int) -> int:
        raise AssertionError("nothing is to be done")

    def plan(self, job: BatchJob, finished: object) -> Plan:
        raise AssertionError("it is planned already")

    def perform(self, analyzer: object, name: str, task: object, on_last_frame: object) -> Outcome:
        raise AssertionError("nothing is to be done")

    def whole_of(self, name: str) -> str:
        return name[0]

    def write_whole(self, job: BatchJob, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        if outcomes[0]["name"][0] == "x":
            raise OSError("the disk is full")
        self.whole.append([outcome["name"] for outcome in outcomes])


def test_what_is_whole_is_written_when_it_is_and_what_is_broken_never() -> None:
    notes, result = Notes(), BatchResult()
    result.add({"name": "c", "media_uri": "c", "error": "half of it makes no sense"})
    plan = Plan(dict.fromkeys(["a1", "a2", "b1", "b2", "c1"]), {"d1": {"name": "d1"}}, result)
    with Wholes(notes, BatchJob((), "o", ()), plan) as wholes:
        for name in ("d1", "a2", "b1", "c1", "a1"):
            wholes.note({"name": name})
        wholes.note({"name": "b2", "error": "broken"})
    assert sorted(notes.whole) == [["a2", "a1"], ["d1"]]
    with (
        pytest.raises(OSError, match="the disk is full"),
        Wholes(notes, BatchJob((), "o", ()), Plan({"x": 0}, {}, result)) as wholes,
    ):
        wholes.note({"name": "x"})


def test_a_bundle_counts_its_pictures_and_their_errors() -> None:
    result = BatchResult()
    bad = {"name": "b", "media_uri": "b.jpg", "error": "b.jpg: damaged", "time_s": None}
    result.add({"name": "x", "pictures": ["a.jpg", "b.jpg"], "frames": 1, "errors": [bad], "parts": {}})
    assert (result.tried, result.frames, result.status, result.errors) == (2, 1, "partial", [bad])
    assert result.results == [{"name": "x", "pictures": 1, "frames": 1, "parts": {}}]
    result = BatchResult()
    result.add({"name": "x", "pictures": ["b.jpg"], "frames": 0, "errors": [bad], "parts": {}})
    assert (result.status, json.loads(result.summary("/out/"))["errors"]) == ("failed", [bad])


def test_the_last_line_is_short_however_large_the_job_and_says_where_the_report_is() -> None:
    result = BatchResult(media=2000, segments=2000)
    for number in range(1000):
        result.add({"name": f"a{number}", "media_uri": f"/m/{number}.mp4", "frames": 1, "parts": {"labels": "x" * 500}})
        result.add({"name": f"b{number}", "media_uri": f"/n/{number}.mp4", "error": "is damaged", "time_s": None})
    line = result.summary("s3://bucket/out/")
    told = json.loads(line)
    assert (told["status"], told["done"], told["failed"], told["frames"]) == ("partial", 1000, 1000, 1000)
    assert told["report"] == "s3://bucket/out/manifest.json"
    assert len(told["errors"]) == 20
    assert len(line) < 5000


def test_records_of_a_bundle_say_which_picture_they_are_about() -> None:
    schema = pa.schema([("frame_index", pa.int64()), ("mean", pa.float32())], metadata={"version": "1"})
    table = with_media(pa.table({"frame_index": [0, 2, 2], "mean": [1.0, 2.0, 3.0]}, schema=schema), ["a", "b", "c"])
    assert table["media"].to_pylist() == ["a", "c", "c"]
    assert table["frame_index"].to_pylist() == [0, 0, 0]
    assert table.column_names[0] == "media"
    assert table.schema.metadata == {b"version": b"1"}


@dataclass(frozen=True)
class Length:
    """A task of so many seconds of media."""

    media_s: float

    def to_dict(self) -> dict[str, object]:
        return {}


def chunked(lengths_s: Sequence[float], slots: int) -> list[list[float]]:
    """The lengths of each chunk's tasks; all are there, in order."""
    tasks = {str(number): Length(media_s) for number, media_s in enumerate(lengths_s)}
    chunks = list(in_chunks(tasks, slots, most_s=60))
    assert [name for chunk in chunks for name in chunk] == list(tasks)
    return [[tasks[name].media_s for name in chunk] for chunk in chunks]


def test_small_files_go_to_an_actor_together_and_long_segments_alone() -> None:
    assert [len(chunk) for chunk in chunked([10] * 72, slots=2)][:4] == [6, 6, 6, 6]
    assert len(chunked([10] * 72, slots=2)) < 72 / 3
    assert chunked([60] * 5, slots=2) == [[60]] * 5
    assert chunked([90, 90], slots=1) == [[90], [90]]
    assert chunked([], slots=2) == []
    assert [len(chunk) for chunk in chunked([0.0] * 3, slots=2)] == [3]


@pytest.mark.parametrize("slots", [1, 2, 7, 64])
@pytest.mark.parametrize("seed", range(5))
def test_chunks_end_together(slots: int, seed: int) -> None:
    """Whoever is free takes the next: nobody still works long after the others have nothing left."""
    lengths_s = [*map(float, np.random.default_rng(seed).integers(1, 60, 500))]
    free_at_s = [0.0] * slots
    for chunk in chunked(lengths_s, slots):
        heapq.heapreplace(free_at_s, free_at_s[0] + sum(chunk))
    assert max(free_at_s) - min(free_at_s) <= max(lengths_s)


class Gated:
    """A kind whose tasks wait to be told that only writing is left, and then for the end of that."""

    unit = "tasks"

    def __init__(self) -> None:
        self.begun: Queue[str] = Queue()
        self.last_frame, self.written = {n: Event() for n in "abcd"}, {n: Event() for n in "abcd"}

    def perform(self, _analyzer: object, name: str, _task: object, on_last_frame: Callable[[], None]) -> Outcome:
        self.begun.put(name)
        assert self.last_frame[name].wait(30)
        if name == "d":
            raise RuntimeError("a model is broken")
        on_last_frame()
        assert self.written[name].wait(30)
        return {"name": name}


def test_an_actor_begins_its_next_task_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Gated()
    monkeypatch.setitem(run.KINDS, "gated", kind)
    monkeypatch.setattr(run, "SegmentAnalyzer", lambda **_options: None)
    monkeypatch.setattr("pipelines.logs.configure", lambda *_where: None)
    actor = run.BatchActor("gated", str(tmp_path), 1, "text", hardware_decoding=False)

    def call(*names: str) -> Future[dict[str, list[str]]]:
        return threads.submit(actor, {"tasks": [json.dumps([{"name": name} for name in names])]})

    with ThreadPoolExecutor(4) as threads:
        first = call("a")
        assert kind.begun.get(timeout=30) == "a"
        second = call("b", "c")
        with pytest.raises(Empty):
            kind.begun.get(timeout=0.05)
        kind.last_frame["a"].set()
        assert kind.begun.get(timeout=30) == "b"
        assert not first.done()
        for gate in (kind.written["a"], kind.last_frame["b"], kind.written["b"]):
            gate.set()
        assert kind.begun.get(timeout=30) == "c"
        broken = call("d")
        kind.last_frame["c"].set()
        assert kind.begun.get(timeout=30) == "d"
        kind.written["c"].set()
        kind.last_frame["d"].set()
        with pytest.raises(RuntimeError, match="a model is broken"):
            broken.result(30)
        again = call("a")  # whose gates are open: the broken one has given its turn back
        assert [json.loads(line)["name"] for done in (first, second, again) for line in done.result(30)["outcome"]] == [
            *"abca"
        ]


def test_only_enough_work_buys_another_gpu() -> None:
    job = BatchJob(("a",), "o", ("labels",), max_gpus=4)
    assert [wanted_actors(job, media_s) for media_s in (1, 300, 301, 9000)] == [1, 1, 2, 4]


def outcome(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "media_uri": name, **more}


def test_too_many_errors_end_the_job_but_not_a_small_one() -> None:
    job = BatchJob(("a",), "o", ("labels",), max_error_share=0.25)
    result = BatchResult()
    for number in range(19):
        result.add(outcome(f"bad{number}", error="broken"))
    _check_errors(job, result)
    result.add(outcome("good", frames=3))
    with pytest.raises(TooManyErrors, match=r"19 of 20 media failed, more than --max-error-share 0\.25"):
        _check_errors(job, result)


def test_a_resumed_run_knows_what_is_done_and_a_fresh_one_begins_anew(tmp_path: Path) -> None:
    job = BatchJob(("a",), str(tmp_path), ("labels",), resume=True)
    outcomes = Outcomes(str(tmp_path))
    assert outcomes.begin(job.identity(), resume=True) == {}
    outcomes.add("a-00000-gpu", outcome("a-00000-gpu", frames=2))
    outcomes.finish({"status": "succeeded"})
    assert Outcomes(f"file://{tmp_path}").begin(job.identity(), resume=True)["a-00000-gpu"]["frames"] == 2
    assert not (tmp_path / "manifest.json").exists()
    busy = MediaUnavailable("http://a/b.mp4", "the server answers 503")
    outcomes.add("b-00000-gpu", outcome("b-00000-gpu", error=str(busy), time_s=None) | for_now(busy))
    outcomes.add("c-2-0", {"pictures": ["c", "d"], "errors": [{"error": str(busy)} | for_now(busy)]})
    assert [*outcomes.begin(job.identity(), resume=True)] == ["a-00000-gpu"], "what could not be had is tried again"
    other = BatchJob(("b",), str(tmp_path), ("labels",), sampling="1fps", segment_s=30, resume=True)
    with pytest.raises(OtherJob, match="another sampling, segment_s; name another --output"):
        outcomes.begin(other.identity(), resume=True)
    assert outcomes.begin(other.identity(), resume=False) == {}
    assert outcomes.begin(other.identity(), resume=True) == {}


def test_a_manifest_names_everything_in_order_and_no_times() -> None:
    result = BatchResult(media=2, segments=2)
    result.add(outcome("b", frames=2, seconds=1.5))
    result.add(outcome("a", frames=3, seconds=2.5))
    result.add(outcome("c", error="c: broken", time_s=None))
    manifest = result.manifest()
    assert [r["name"] for r in manifest["results"]] == ["a", "b"]
    assert "seconds" not in json.dumps(manifest)
    assert (manifest["frames"], manifest["status"], len(manifest["errors"])) == (5, "partial", 1)


def test_the_command_line_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--input", "a", "b", "--output", "o"]
    job = parse([*base, "--analyzers", "scenes", "--fps", "2", "--resume"], "video", default_analyzers())
    assert job == BatchJob(("a", "b"), "o", ("scenes",), sampling="2fps", resume=True)
    job = parse([*base, "--option", "labels.top_k=3", "--sampling", "max:9"], "video", default_analyzers())
    assert (job.options["labels"]["top_k"], job.sampling) == (3, "max:9")
    for wrong, message in (
        (["--analyzers", "faces"], "choose from: labels"),
        (["--sampling", "2"], "unknown sampling '2'"),
        (["--option", "labels=3"], "write ANALYZER.NAME=VALUE"),
        (["--option", "labels.speed=3"], "speed"),
        (["--segment-s", "0"], "cannot cut"),
    ):
        with pytest.raises(SystemExit):
            parse([*base, *wrong], "video", default_analyzers())
        assert message in capsys.readouterr().err
    assert parse(base, "audio", ("speech",)).kind == "audio"
    assert parse([*base, "--analyzers", "text,labels"], "images", ("labels",)).analyzers == ("text", "labels")
    for kind, wrong, message in (
        (
            "audio",
            ["--analyzers", "speech,labels"],
            "labels can do nothing with audio; choose from: speech, transcript",
        ),
        ("images", ["--analyzers", "labels,scenes"], "scenes can do nothing with images; choose from: labels, objects"),
        ("images", ["--fps", "2"], "unrecognized arguments: --fps 2"),
    ):
        with pytest.raises(SystemExit):
            parse([*base, *wrong], kind, ("labels",))
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("job", "worker", "waits"), [(True, True, True), (True, False, False), (False, True, False)])
def test_a_job_that_ends_on_a_worker_leaves_time_to_read_its_last_words(
    job: bool, worker: bool, waits: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def sleep(_seconds: float) -> None:
        done.append(f"waits after {json.loads(capsys.readouterr().out)['status']}")

    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if job:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setattr(command_line, "run_on_worker", lambda _job: BatchResult(media=1))
    monkeypatch.setattr(command_line, "_is_worker", lambda: worker)
    monkeypatch.setattr("time.sleep", sleep)
    command_line.main(["--input", "a", "--output", "b"], "video", ["labels"])
    assert done == ["waits after succeeded"] * waits
