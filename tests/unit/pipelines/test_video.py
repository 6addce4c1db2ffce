"""Segments through the real models, on a real video."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("torch")

from pipelines.analyzers.labels import Labels
from pipelines.analyzers.registry import check_analyzers, default_analyzers
from pipelines.analyzers.scenes import cuts_from_scores
from pipelines.batch import still_images
from pipelines.batch.job import BatchJob
from pipelines.batch.segments import SegmentJobs
from pipelines.batch.still_images import PicturesTask, analyse_bundle
from pipelines.errors import InvalidOption, MediaError, UnknownAnalyzer
from pipelines.media.decoders.pyav import PyAvDecoder
from pipelines.media.sample_video import sample_video
from pipelines.media.sampling import FramesPerSecond, Segment, plan_segments
from pipelines.media.sources import probe
from pipelines.models.devices import AT_WORK
from pipelines.records.sinks import read_parts
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentReport, SegmentTask
from tests.support.samples import media
from tests.support.samples.sound import clicks, write

CUT_FRAMES = [30, 76, 137, 187, 242]  # checked by eye, and equal to the package's own predict_frames
VEHICLES = {"streetcar", "moped", "motor scooter", "trolleybus", "minibus", "limousine", "jinrikisha"}


@pytest.fixture(scope="module")
def bikes() -> str:
    try:
        return str(sample_video())
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def analyzer() -> SegmentAnalyzer:
    return SegmentAnalyzer(device="cpu")


def tasks(uri: str, output: Path, target_s: float = 60.0) -> list[SegmentTask]:
    info = probe(uri)
    return [
        SegmentTask(uri, segment, info, default_analyzers(), str(output))
        for segment in plan_segments(info.duration_s, target_s)
    ]


def test_labels_and_cuts_of_the_sample(bikes: str, analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    started: list[bool] = []
    (task,) = tasks(bikes, tmp_path)
    report = analyzer.run(task, on_first_frame=lambda: started.append(True))
    assert started == [True]
    assert (report.frames, report.frames_by_analyzer) == (250, {"labels": 20, "scenes": 250})
    assert (report.decoder, report.warnings) == ("pyav", ())
    assert SegmentReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert SegmentTask.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    rows = read_parts(str(tmp_path / "labels")).to_pylist()
    assert len({row["labels"][0]["label"] for row in rows} & VEHICLES) >= 3
    assert all(len(row["labels"]) == 5 for row in rows)
    cuts = read_parts(str(tmp_path / "scenes"))
    assert cuts["frame_index"].to_pylist() == CUT_FRAMES
    assert cuts["time_s"].to_pylist() == pytest.approx([frame / 25 for frame in CUT_FRAMES])
    assert cuts.schema.metadata[b"analyzer"] == b"scenes"


def test_a_task_carries_options_for_its_analyzers(bikes: str, analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    (plain,) = tasks(bikes, tmp_path)
    task = replace(plain, analyzers=("labels",), options={"labels": {"fps": 0.5, "top_k": 2}})
    assert SegmentTask.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    assert analyzer.run(task).frames == 5
    assert {len(row["labels"]) for row in read_parts(str(tmp_path / "labels")).to_pylist()} == {2}
    without = {key: value for key, value in plain.to_dict().items() if key != "options"}
    assert SegmentTask.from_dict(without) == plain
    with pytest.raises(InvalidOption, match=r"labels\.speed = 3"):
        analyzer.run(replace(task, options={"labels": {"speed": 3}}))


def test_segments_and_bundles_are_at_work_until_only_writing_is_left_or_they_fail(
    bikes: str, analyzer: SegmentAnalyzer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AT_WORK, "_cores", 1)
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((AT_WORK.fills_the_cores, any(tmp_path.rglob("part-*"))))

    (plain,) = tasks(bikes, tmp_path)
    task = replace(plain, analyzers=("brightness",))
    analyzer.run(task, on_first_frame=look, on_last_frame=look)
    assert seen == [(True, False), (False, False)]
    with pytest.raises(MediaError):
        analyzer.run(replace(task, media_uri=str(tmp_path / "missing.mp4")))
    assert not AT_WORK.fills_the_cores

    def shown(*_what: object) -> list[MediaError]:
        look()
        raise UnknownAnalyzer("brightness", ())

    bundle = PicturesTask((str(tmp_path / "missing.png"),), ("brightness",), str(tmp_path / "bundle"))
    seen.clear()
    analyse_bundle(analyzer, bundle, look)
    monkeypatch.setattr(still_images, "watch_pictures", shown)
    with pytest.raises(UnknownAnalyzer):
        analyse_bundle(analyzer, bundle, look)
    assert [at_work for at_work, _ in seen] == [False, True]
    assert not AT_WORK.fills_the_cores


def test_a_finished_part_is_kept(bikes: str, analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    (plain,) = tasks(bikes, tmp_path)
    task = replace(plain, analyzers=("brightness", "labels"), options={"labels": {"fps": 1}})
    first = analyzer.run(task)
    part = tmp_path / "labels" / "part-00000.parquet"
    metadata = read_parts(str(tmp_path / "labels")).schema.metadata
    assert metadata[b"options"] == b'{"fps": 1}'
    assert (metadata[b"media"], metadata[b"frames"]) == (b"bikes.mp4", b"10")
    written = part.stat().st_mtime_ns
    again = analyzer.run(task, resume=True)
    assert part.stat().st_mtime_ns == written
    assert (again.parts, again.frames_by_analyzer) == (first.parts, first.frames_by_analyzer)
    before = part.read_bytes()
    assert analyzer.run(task).parts == first.parts  # without resume it is made anew, to the same bytes
    assert part.stat().st_mtime_ns > written
    assert part.read_bytes() == before
    changed = replace(task, options={"labels": {"fps": 2}})
    assert analyzer.run(changed, resume=True).frames_by_analyzer == {"brightness": 10, "labels": 20}


def test_pictures_and_sound_of_one_segment(analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", clicks(1, [0.5], 48_000), 48_000, "aac", picture_from_s=0.0)
    (plain,) = tasks(str(path), tmp_path / "out")
    task = replace(plain, analyzers=("speech", "brightness"))
    report = analyzer.run(task)
    assert (report.frames_by_analyzer, report.warnings) == ({"brightness": 1}, ())
    assert set(report.parts) == {"speech", "brightness"}
    assert read_parts(str(tmp_path / "out" / "speech")).num_rows == 0  # clicks are no speech
    told: list[bool] = []
    assert analyzer.run(replace(task, analyzers=("speech",)), lambda: told.append(True)).frames == 0
    assert told == [True]
    silent = str(media.build("h264-mp4", tmp_path).path)
    report = analyzer.run(replace(tasks(silent, tmp_path / "silent")[0], analyzers=("speech",)))
    assert report.warnings == ("speech: the file has no sound",)


def test_sound_alone_is_heard_and_not_looked_at(analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.m4a", clicks(1, [0.5], 48_000), 48_000, "aac"))
    (plain,) = tasks(path, tmp_path / "out")
    report = analyzer.run(replace(plain, analyzers=("speech",)))
    assert (report.frames, report.warnings, set(report.parts)) == (0, (), {"speech"})
    with pytest.raises(MediaError, match=r"a\.m4a: brightness cannot analyse this file: it has no picture"):
        analyzer.run(replace(plain, analyzers=("speech", "brightness")))


def test_segments_give_what_the_whole_gives(bikes: str, analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    # 3.04 s and 7.48 s are cuts; a border falls right on one of them.
    borders = [0.0, 3.04, 5.5, 10.0]
    info = probe(bikes)
    for i in range(3):
        segment = Segment(i, borders[i], borders[i + 1], last=i == 2)
        analyzer.run(SegmentTask(bikes, segment, info, ("labels", "scenes"), str(tmp_path)))
    cuts = read_parts(str(tmp_path / "scenes"))
    assert cuts["frame_index"].to_pylist() == CUT_FRAMES
    assert cuts["segment"].to_pylist() == [0, 1, 1, 2, 2]
    assert read_parts(str(tmp_path / "labels"))["frame_index"].to_pylist() == [
        index
        for batch in PyAvDecoder().frames(bikes, plan_segments(10.0)[0], FramesPerSecond(2), (32, 32), 64)
        for index in batch.indices.tolist()
    ]


def test_damage_keeps_what_was_good(analyzer: SegmentAnalyzer, tmp_path: Path) -> None:
    path = str(media.cut_off(tmp_path))
    first, second = tasks(path, tmp_path / "out", target_s=1.2)
    assert "damaged after this segment" in analyzer.run(first).warnings[0]
    with pytest.raises(MediaError, match=r"cut_off\.mp4: "):
        analyzer.run(second)
    segments = read_parts(str(tmp_path / "out" / "labels"))["segment"].to_pylist()
    assert segments.count(0) == 3
    assert segments.count(1) in (1, 2)


def test_pictures_of_any_size_are_classified(bikes: str) -> None:
    labels = Labels()
    with pytest.raises(RuntimeError, match="load"):
        labels.classify(np.zeros((1, 8, 8, 3), np.uint8))
    labels.load("cpu")
    # 5 s: a van and a cyclist at a stop. ImageNet has neither; "streetcar" is the model's answer (0.55), not the truth.
    (batch,) = PyAvDecoder().frames(bikes, Segment(0, 5.0, 5.04), FramesPerSecond(25), (272, 640), 1)
    (found,) = labels.classify(batch.pixels, top_k=3)
    assert len(found) == 3
    assert found[0][0] == "streetcar"
    assert 1 >= found[0][1] >= found[1][1] >= found[2][1] > 0
    assert labels.classify(np.zeros((0, 8, 8, 3), np.uint8)) == []
    with pytest.raises(ValueError, match="uint8"):
        labels.classify(np.zeros((1, 8, 8, 3), np.float32))


def test_a_cut_is_the_first_frame_after_a_run_of_high_scores() -> None:
    scores = np.array([0, 0.9, 0, 0, 0.6, 0.8, 0.7, 0, 0.9])
    assert cuts_from_scores(scores, 0.5) == [(2, 0.9), (7, 0.8)]
    assert cuts_from_scores(np.array([]), 0.5) == []


def test_names_are_checked_without_loading_models() -> None:
    assert check_analyzers(["scenes", "labels", "scenes"]) == ("scenes", "labels")
    with pytest.raises(UnknownAnalyzer, match="choose from: labels, scenes"):
        check_analyzers(["faces"])
    code = "import sys, pipelines.analyzers, pipelines.batch.run; print({'torch', 'ray', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_analyzer_named_by_its_place_leaves_readable_results(
    analyzer: SegmentAnalyzer, bikes: str, tmp_path: Path
) -> None:
    """Its parts go by the class's own name; so must the insights and the manifest of a batch job."""
    place = "pipelines.analyzers.brightness:Brightness"
    job = BatchJob((bikes,), str(tmp_path), (place,), sampling="1fps")
    jobs = SegmentJobs()
    planned = jobs.plan(job, {})
    outcomes = [jobs.perform(analyzer, name, task.to_dict(), lambda: None) for name, task in planned.tasks.items()]
    jobs.write_whole(job, planned, outcomes)
    (manifest,) = tmp_path.rglob("manifest.json")
    assert json.loads(manifest.read_text())["analyzers"]["brightness"]["rows"] == 10
    insights = json.loads(manifest.with_name("insights.json").read_text())["insights"]
    assert {insight["analyzer"] for insight in insights} == {"brightness"}
