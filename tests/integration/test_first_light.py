"""The three doors, each from zero and back, and what happens when somebody dies half-way."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from cluster.client import ApiError
from cluster.config.schema import RaySettings, Settings
from cluster.local.processes import environment, processes, words
from cluster.ray_patches.decision import APPLIED
from cluster.ray_patches.required_settings import REQUIRED
from pipelines.media.sample_video import sample_video
from tests.integration.conftest import Running, running, settings_in
from tests.support.product.jobs import finished, video_job
from tests.waiting import wait_until


def finish(cluster: Running, analysis_id: str) -> dict[str, Any]:
    return list(cluster.client.follow(analysis_id))[-1]


def frame_indices(cluster: Running, analysis_id: str) -> list[int]:
    parts = [p for p in cluster.client.results(analysis_id)["parts"] if "/labels/" in p]
    return [i for part in parts for i in pq.ParquetFile(part).read()["frame_index"].to_pylist()]


def expected_indices(clip: Path) -> list[int]:
    """Every frame whose interval contains a multiple of half a second, by decoding all of them."""
    with av.open(str(clip)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    ends = [*times[1:], times[-1] + 1 / 25]
    grid = [k / 2 for k in range(200)]
    return [
        i
        for i, (start, end) in enumerate(zip(times, ends, strict=True))
        if any(start - 1e-6 <= t < end - 1e-6 for t in grid)
    ]


def running_pids(cluster: Running, part: str, worker_only: bool = False) -> list[int]:
    found = [p for p in processes(cluster.card.cluster_id) if part in " ".join(words(p))]
    return [p.pid for p in found if not worker_only or "AIMA_INSTANCE" in environment(p)]


def test_http_from_zero_to_zero_buys_one_worker(at_zero: Running) -> None:
    before = len(at_zero.instances())
    submitted = at_zero.client.submit([str(sample_video())], ["labels", "scenes"])
    views = list(at_zero.client.follow(submitted["id"]))
    assert views[-1]["state"] == "succeeded", views[-1]["error"]
    reasons = [view["waiting"]["reason"] for view in views if view["waiting"]]
    assert any("local" in reason for reason in reasons), "the wait was never explained"
    assert views[-1]["progress"]["frames"] == 250
    results = at_zero.client.results(submitted["id"])
    found = results["media"][0]["analyzers"]
    assert {"cab", "streetcar", "limousine", "racer"} & {r["labels"][0]["label"] for r in found["labels"]}
    assert 3 <= len(found["scenes"]) <= 8
    assert frame_indices(at_zero, submitted["id"]) == expected_indices(sample_video())
    at_zero.wait_for_zero()
    assert len(at_zero.instances()) - before == 1


@pytest.mark.timeout(600)
def test_stock_ray_tells_the_same_story(tmp_path: Path) -> None:
    settings = settings_in(tmp_path).model_copy(update={"ray": RaySettings(patches="off")})
    with running(settings) as stock:
        submitted = stock.client.submit([str(sample_video())], ["labels"])
        view = finish(stock, submitted["id"])
        assert view["state"] == "succeeded", view["error"]
        assert frame_indices(stock, submitted["id"]) == expected_indices(sample_video())
        applied = [environment(process).get(APPLIED) for process in processes(stock.card.cluster_id)]
        told = {name for names in applied if names is not None for name in names.split(",")}
        assert told == {setting.name for setting in REQUIRED}, "the head and its worker were told something else"
        assert not running_pids(stock, "cluster.ray_patches"), "code of ours runs Ray's processes"
        assert "ray_warnings" not in stock.client.instances(), "what was asked for is no warning"
        stock.wait_for_zero()


def test_a_second_request_uses_the_warm_worker(at_zero: Running) -> None:
    before = len(at_zero.instances())
    for _ in range(2):
        submitted = at_zero.client.submit([str(sample_video())], ["labels"])
        assert finish(at_zero, submitted["id"])["state"] == "succeeded"
    assert len(at_zero.instances()) - before == 1


def test_a_worker_starts_with_as_many_processes_as_it_has_use_for_and_models_imported(at_zero: Running) -> None:
    (shape,) = [shape for shape in Settings().node_types.values() if shape.gpus]
    assert shape.cpus > 2, "or this test says nothing"

    def one_waits_with_torch_in_it() -> bool:
        submitted = at_zero.client.submit([str(sample_video())], ["labels"])  # the worker stays, and the other works
        assert finish(at_zero, submitted["id"])["state"] == "succeeded"
        idle = running_pids(at_zero, "ray::IDLE", worker_only=True)
        return ["libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in idle] == [True]

    wait_until("one process waits, and has torch in it", one_waits_with_torch_in_it, 60, every_s=1)


@pytest.mark.parametrize(
    "victim", ["ServeReplica:aima:Api", "cluster.worker.local_entrypoint", "raylet", "ServeReplica:aima:SegmentModel"]
)
def test_a_death_half_way_loses_and_doubles_nothing(at_zero: Running, long_clip: Path, victim: str) -> None:
    submitted = at_zero.client.submit([str(long_clip)], ["labels", "scenes"])
    wait_until(
        "some segments are done, some are not",
        lambda: 0 < at_zero.client.analysis(submitted["id"])["progress"]["segments_done"] < 6,
        120,
    )
    worker_only = victim == "raylet"
    pids = running_pids(at_zero, victim, worker_only)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    view = finish(at_zero, submitted["id"])
    assert view["state"] == "succeeded", view["error"]
    assert frame_indices(at_zero, submitted["id"]) == expected_indices(long_clip)
    assert view["progress"]["frames"] == 750


def test_a_cluster_stopped_half_way_goes_on_when_it_is_started_again(long_clip: Path, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as first:
        analysis_id = first.client.submit([str(long_clip)], ["labels"])["id"]
        wait_until("a segment is done", lambda: first.client.analysis(analysis_id)["progress"]["segments_done"], 120)
    with running(settings) as again:
        view = finish(again, analysis_id)
        assert view["state"] == "succeeded", view["error"]
        assert frame_indices(again, analysis_id) == expected_indices(long_clip)
        again.wait_for_zero()


def test_unreadable_media_fails_itself_and_buys_nothing(at_zero: Running, tmp_path: Path) -> None:
    before = len(at_zero.instances())
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    view = finish(at_zero, at_zero.client.submit([str(empty)], ["labels"])["id"])
    assert view["state"] == "failed"
    assert "empty.mp4" in view["error"]["message"]
    assert len(at_zero.instances()) == before


def test_damage_in_the_middle_keeps_what_was_done_before_it(at_zero: Running, long_clip: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ts"
    with av.open(str(long_clip)) as source, av.open(str(damaged), "w", format="mpegts") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    content = bytearray(damaged.read_bytes())
    whole = len(content) * 2 // 3
    content[whole:] = random.Random(1).randbytes(len(content) - whole)
    damaged.write_bytes(content)
    view = finish(at_zero, at_zero.client.submit([str(damaged)], ["labels"])["id"])
    assert view["state"] == "failed"
    assert view["error"]["message"].startswith("damaged.ts: ")
    assert view["progress"]["segments_done"] >= 2
    done_s = view["progress"]["segments_done"] * 5
    kept = frame_indices(at_zero, view["id"])
    assert kept == [index for index in expected_indices(long_clip) if index < done_s * 25]


def test_a_cancelled_analysis_keeps_what_was_done_and_its_worker_goes(at_zero: Running, long_clip: Path) -> None:
    before = {instance["name"] for instance in at_zero.instances()}
    analysis_id = at_zero.client.submit([str(long_clip)], ["labels"])["id"]
    wait_until(
        "some segments are done, some are not",
        lambda: 0 < at_zero.client.analysis(analysis_id)["progress"]["segments_done"] < 6,
        120,
    )
    assert at_zero.client.cancel(analysis_id)["state"] == "cancelled"
    at_zero.wait_for_zero()
    assert not running_pids(at_zero, "cluster.worker.local_entrypoint")
    [bought] = [instance for instance in at_zero.instances() if instance["name"] not in before]
    assert bought["billed_s"] == pytest.approx(bought["ended_at"] - bought["bought_at"], abs=0.01), "it is billed on"
    view = at_zero.client.analysis(analysis_id)
    assert view["state"] == "cancelled"
    kept = frame_indices(at_zero, analysis_id)
    whole = {index // (5 * 25) for index in kept}
    assert 1 <= len(whole) == view["progress"]["segments_done"] < 6
    assert kept == [index for index in expected_indices(long_clip) if index // (5 * 25) in whole]


def test_bad_requests_are_refused_with_the_field(cluster: Running) -> None:
    with pytest.raises(ApiError, match=r"nothing\.mp4") as missing:
        cluster.client.submit(["/no/such/nothing.mp4"], ["labels"])
    assert (missing.value.status, missing.value.problem["field"]) == (422, "media[0]")
    with pytest.raises(ApiError, match="labels") as unknown:
        cluster.client.submit([str(sample_video())], ["horoscope"])
    assert (unknown.value.status, unknown.value.problem["field"]) == (422, "analyzers[0]")


@pytest.mark.parametrize("flags", [["--entrypoint-num-cpus", "1"], []], ids=["driver-on-worker", "no-flags"])
def test_a_job_buys_one_worker_and_its_data_driver_is_not_on_the_head(
    at_zero: Running, tmp_path: Path, flags: list[str]
) -> None:
    before = len(at_zero.instances())
    arguments = ["--input", str(sample_video()), "--output", str(tmp_path / "out"), "--analyzers", "labels"]
    with video_job(at_zero, flags, *arguments) as job:
        finished(job)
    table = pq.ParquetDataset(str(next((tmp_path / "out").rglob("labels")))).read()
    assert table["frame_index"].to_pylist() == expected_indices(sample_video())
    at_zero.wait_for_zero()
    assert len(at_zero.instances()) - before == 1


_CONNECT = """
import sys, json, numpy as np
from pathlib import Path
from cluster.client import connect
import av
from pipelines.media.sample_video import sample_video
with av.open(str(sample_video())) as container:
    frame = next(f for i, f in enumerate(container.decode(video=0)) if i == 200).to_ndarray(format="rgb24")
with connect(Path(sys.argv[1]), idle_s=2) as aima:
    answers = aima.labels(np.stack([frame, frame]), top_k=3)
    print(json.dumps(answers))
    sys.stdout.flush()
    sys.stdin.readline()
    print(json.dumps(aima.labels(np.stack([frame]), top_k=3)))
"""


def test_python_calls_buy_one_worker_that_leaves_when_idle(at_zero: Running) -> None:
    before = len(at_zero.instances())
    command = [sys.executable, "-c", _CONNECT, str(at_zero.state.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout
        assert caller.stdin
        first = caller.stdout.readline()
        assert len(json.loads(first)) == 2, first
        at_zero.wait_for_zero()
        assert len(at_zero.instances()) - before == 1
        out, _ = caller.communicate("go on\n", timeout=120)
        again, earlier = json.loads(out)[0], json.loads(first)[0]
        assert [label for label, _score in again] == [label for label, _score in earlier]
        # One picture and two at once are added up in another order.
        assert [score for _label, score in again] == pytest.approx([score for _label, score in earlier], abs=1e-4)
    assert caller.returncode == 0
