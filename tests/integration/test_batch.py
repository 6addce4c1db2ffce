"""A batch job killed in its midst goes on where it was, and ends with what an undisturbed one gives; of any media."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.ray_patches.registry import PATCHES
from pipelines.records.insights import Insight
from pipelines.records.results import verify
from tests.support.samples import media
from tests.support.samples.sound import speak
from tests.waiting import wait_until

CLIPS = 200


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 clips of a second or two, three of them broken."""
    folder = tmp_path_factory.mktemp("clips")
    sources = [media.build(name, folder).path for name in ("h264-mp4", "vp9-webm", "h264-ts", "vfr-mp4")]
    sources += [media.empty(folder), media.not_media(folder), media.cut_off(folder)]
    for number in range(CLIPS - len(sources)):
        source = sources[number % 4]
        (folder / f"clip{number:03d}{source.suffix}").hardlink_to(source)
    return folder


class Job:
    """`python -m pipelines.video` on a Ray of its own."""

    def __init__(self, clips: Path, output: Path, *more: str) -> None:
        command = [sys.executable, "-m", "pipelines.video", "--input", str(clips), "--output", str(output)]
        command += ["--analyzers", "labels", "--fps", "1", "--max-gpus", "0", "--segments-at-once", "2", *more]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # what workers log may come after the result
            text=True,
            start_new_session=True,
        )
        self.segments = output / "segments"

    def result(self) -> dict[str, Any]:
        out, log = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, log
        return dict(json.loads(out.splitlines()[-1]))

    def kill(self) -> None:
        """As a machine that loses power: everything at once."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        for process in [psutil.Process(self.process.pid), *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()
        psutil.wait_procs(family, timeout=30)


def done(folder: Path) -> int:
    return len(list(folder.glob("*.json")))


def manifest(output: Path) -> Any:
    text = (output / "manifest.json").read_text()
    return json.loads(text.replace(str(output), "OUTPUT"))


def tables(output: Path) -> Iterator[tuple[str, Any]]:
    for part in sorted(output.rglob("part-*.parquet")):
        yield str(part.relative_to(output)), pq.read_table(part).to_pylist()


def test_a_job_killed_twice_ends_as_an_undisturbed_one(clips: Path, tmp_path: Path) -> None:
    calm, shaken = tmp_path / "calm", tmp_path / "shaken"
    undisturbed = Job(clips, calm).result()
    assert undisturbed["status"] == "partial"
    for at_least in (30, 100):
        job = Job(clips, shaken, "--resume")
        wait_until(f"{at_least} segments are done", lambda: done(job.segments) >= at_least, 300)  # noqa: B023
        job.kill()
        assert not (shaken / "manifest.json").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (shaken / "segments").glob("*.json")}
    assert 100 <= len(kept) < 198
    resumed = Job(clips, shaken, "--resume").result()
    assert resumed["resumed"] >= len(kept)
    assert {name: (shaken / "segments" / name).stat().st_mtime_ns for name in kept} == kept
    assert manifest(shaken) == manifest(calm)
    assert dict(tables(shaken)) == dict(tables(calm))
    errors = [json.loads(path.read_text()) for path in sorted((shaken / "errors").glob("*.json"))]
    assert [e["error"].split(":")[0] for each in errors for e in each] == ["cut_off.mp4", "empty.mp4", "text.mp4"]
    whole = [path.parent for path in (shaken / "media").glob("*/manifest.json")]
    assert len(whole) == CLIPS - 3
    assert [problem for folder in whole for problem in verify(str(folder))] == []


def test_an_output_of_another_job_is_not_resumed(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"analyzers": ["scenes"]}))
    job = Job(clips, tmp_path, "--resume")
    _, log = job.process.communicate(timeout=120)
    assert job.process.returncode == 1
    assert "holds a job with another analyzers" in log


# One Ray for all: pictures, the same again after an outcome was lost, sound, and pictures of which too many fail.
_JOBS = """
import json, sys
from pathlib import Path

from ray.experimental.internal_kv import _internal_kv_list
from ray.util import list_named_actors

from cluster.ray_patches import data_actors
from pipelines import audio, images

pictures, sound, output = sys.argv[1:]
job = ["--input", pictures, "--output", f"{output}/images", "--analyzers", "labels,brightness", "--max-gpus", "0"]
assert images.main(job) == 0
next(Path(output, "images", "segments").glob("*-gpu.json")).unlink()
Path(output, "images", "manifest.json").rename(Path(output, "first.json"))
assert images.main([*job, "--resume"]) == 0
assert audio.main(["--input", sound, "--output", f"{output}/audio", "--analyzers", "speech", "--max-gpus", "0"]) == 0
job[job.index(f"{output}/images")] = f"{output}/too_many"
assert images.main([*job, "--max-error-share", "0"]) == 1
assert list_named_actors(all_namespaces=True) == [], "what outlives a job keeps its machine from being idle"
assert _internal_kv_list(b"", namespace=data_actors.NAMESPACE) == []
"""
# The only worker vanishes in the midst; another has come just before.
_MOVED = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

from cluster.ray_patches import data_actors
from pipelines.batch.job import BatchJob
from pipelines.batch.run import run
from tests.waiting import wait_until

clips, output = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
first = cluster.add_node(num_cpus=1)
ray.init(cluster.address, log_to_driver=False)


def locations():
    keys = _internal_kv_list(b"", namespace=data_actors.NAMESPACE)
    return [(_internal_kv_get(key, namespace=data_actors.NAMESPACE) or b"").decode() for key in keys]


job = BatchJob((clips,), output, ("labels",), sampling="10fps", max_gpus=0)
with ThreadPoolExecutor() as pool:
    running = pool.submit(run, job)
    wait_until("the actor has begun", lambda: locations() == [first.node_id])
    wait_until("some are done", lambda: len(list(Path(output, "segments").glob("*.json"))) >= 20)
    second = cluster.add_node(num_cpus=1)
    cluster.remove_node(first, allow_graceful=False)
    wait_until("the actor has begun elsewhere", lambda: locations() == [second.node_id])
    result = running.result()
print(json.dumps({"status": result.status, "segments": result.segments, "done": len(result.results)}))
ray.shutdown()
cluster.shutdown()
"""


def program(text: str, *arguments: object) -> list[str]:
    """The lines that a program of ours prints, on a Ray of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    (patch,) = [patch for patch in PATCHES if patch.name == "data_actors"]
    environment |= patch.variables  # as on the nodes of a cluster of ours
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_job_whose_worker_vanishes_goes_on_at_the_next(clips: Path, tmp_path: Path) -> None:
    done = json.loads(program(_MOVED, clips, tmp_path / "output")[-1])
    assert done == {"status": "partial", "segments": 198, "done": 197}


def insights(folder: Path) -> list[Insight]:
    return [insight for file in folder.rglob("insights.json") for insight in json.loads(file.read_text())["insights"]]


def test_pictures_and_sound_are_batch_jobs_too(tmp_path: Path) -> None:
    pictures, sound, output = (tmp_path / name for name in ("pictures", "sound", "output"))
    pictures.mkdir()
    sound.mkdir()
    for number in range(150):
        Image.new("RGB", (80, 60), (number, 0, 0)).save(pictures / f"{number:03d}.png")
    (pictures / "007.png").write_bytes(b"no picture")
    speak("The quick brown fox jumps over the lazy dog.", sound / "said.wav")
    media.not_media(sound)
    lines = program(_JOBS, pictures, sound, output)
    first, again, heard = (json.loads(line) for line in lines if line.startswith('{"status"'))
    assert (first["status"], first["media"], first["segments"], first["frames"]) == ("partial", 150, 4, 298)
    assert (again["resumed"], again["frames"]) == (3, 298)
    assert (output / "first.json").read_text() == (output / "images" / "manifest.json").read_text()
    for analyzer in ("labels", "brightness"):
        parts = (output / "images" / "media").glob(f"*/{analyzer}/part-00000.parquet")
        rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
        assert sorted(row["media"] for row in rows) == sorted(str(p) for p in pictures.iterdir() if p.name != "007.png")
    (error,) = json.loads(next((output / "images" / "errors").iterdir()).read_text())
    assert error["error"].startswith("007.png: not a picture of a known format")
    bundles = list((output / "images" / "media").iterdir())
    assert [verify(str(bundle)) for bundle in bundles] == [[], []]
    told = [told for bundle in bundles for told in json.loads((bundle / "insights.json").read_text())["pictures"]]
    assert len(told) == 149
    assert {insight["analyzer"] for picture in told for insight in picture["insights"]} >= {"brightness"}
    assert (heard["status"], heard["media"]) == ("partial", 2)
    (spoken,) = insights(output / "audio")
    assert (spoken["kind"], len(spoken["ranges"])) == ("speech", 1)
