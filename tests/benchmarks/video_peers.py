"""The contestants of tests.benchmarks.video, each run in a process of its own.

`python -m tests.benchmarks.video_peers NAME JOB.json` prints {"cold_s", "warm_s", "labels"}. All take the same clips,
weights and sampled frames. `warm_s` counts from when the models are loaded, where that can be told apart.
"""
# ruff: noqa: PLC0415 - each contestant imports its own

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.video_loops import (
    SIZE,
    Job,
    Outcome,
    decoded,
    limit,
    loaded_labels,
    note,
    one_threaded_labels,
    whole_clips,
    whole_segment,
)

_CALM_CPU_S, _CALM_WITHIN_S = 0.15, 30.0


def _start_ray() -> None:
    """Ray as on our head and our workers, in one, and calm: what it still does would be taken from whoever is timed."""
    from cluster.ray_patches.preloaded_worker import rest_s
    from cluster.ray_patches.registry import PATCHES

    variables = {name: value for patch in PATCHES for name, value in patch.variables.items() if "{" not in value}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", **variables}
    import psutil
    import ray  # which reads them as it is imported

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

    def cpu_s() -> float:
        return sum(sum(p.cpu_times()[:2]) for p in psutil.Process().children(recursive=True))

    time.sleep(rest_s(len(os.sched_getaffinity(0))))  # then they import what models need
    before, deadline = cpu_s(), time.monotonic() + _CALM_WITHIN_S
    while time.monotonic() < deadline:
        time.sleep(1.0)
        before, used_s = (now := cpu_s()), now - before
        if used_s < _CALM_CPU_S:
            return


def ray_data(job: Job) -> Outcome:
    """Ours as a batch job: pipelines.batch.run on Ray Data."""
    _start_ray()
    from pipelines.batch.job import BatchJob
    from pipelines.batch.run import run

    with tempfile.TemporaryDirectory() as output:
        started = time.monotonic()
        run(BatchJob(job.clips, output, ("labels",), sampling=job.sampling_text, max_gpus=0))
        seconds = time.monotonic() - started
        return Outcome(_read(Path(output)), seconds, seconds)


def serve(job: Job) -> Outcome:
    """Ours as requests: segments on a warm replica of the service's deployment, as many at a time as it gives one."""
    _start_ray()
    from ray import serve as ray_serve

    from pipelines.models.devices import AT_ONCE_ON_CPUS
    from pipelines.segments.task import SegmentTask
    from serve_apps.models.segments import SegmentModel
    from serve_apps.work.dispatch_policy import GIVEN_AHEAD

    started = time.monotonic()
    ray_serve.start(proxy_location="Disabled")  # workers have none
    given = AT_ONCE_ON_CPUS + GIVEN_AHEAD
    deployment = ray_serve.deployment(
        SegmentModel,
        max_ongoing_requests=given,
        logging_config={"enable_access_log": False},
        ray_actor_options={"num_cpus": 1},
        autoscaling_config={"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": given},
    )
    handle = ray_serve.run(deployment.bind(), route_prefix=None).options(method_name="analyze", stream=True)

    async def one(path: str, output: str, room: asyncio.Semaphore) -> None:
        async with room:
            info, segment = await asyncio.to_thread(whole_segment, path)
            folder = f"{output}/{Path(path).stem}"
            known = info.without_cut_points()
            task = SegmentTask(path, segment, known, ("labels",), folder, sampling=job.sampling_text)
            async for _ in handle.remote(task.to_dict()):
                pass

    async def all_of(paths: Sequence[str], output: str) -> None:
        room = asyncio.Semaphore(given)
        await asyncio.gather(*(one(path, output, room) for path in paths))

    with tempfile.TemporaryDirectory() as output, asyncio.Runner() as client:  # as the dispatcher asks
        client.run(all_of(job.clips[:2], f"{output}/warm"))
        warm = time.monotonic()
        client.run(all_of(job.clips, f"{output}/timed"))
        now = time.monotonic()
        found = _read(Path(output, "timed"))
    ray_serve.shutdown()
    return Outcome(found, now - started, now - warm)


class _FrameLabeler:
    def __init__(self) -> None:
        self._labels = loaded_labels()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        found = self._labels.classify(np.stack(list(batch["frame"])))
        return {"path": batch["path"], "index": batch["frame_index"], "label": [pairs[0][0] for pairs in found]}


def documented_pattern(job: Job) -> Outcome:
    """Ray's documentation: read_videos -> filter -> resize in map -> a model in map_batches.

    The model's actor asks for no CPU: with one of two taken, the steps before it stand still for ever.
    """
    _start_ray()
    import ray

    # Those on screen at 0, 1/fps, 2/fps ... seconds of a clip of 10 s at 25 frames a second.
    wanted = {int(25 * number / job.fps) for number in range(round(10 * job.fps))} if job.fps else set(range(250))
    started = time.monotonic()
    frames = ray.data.read_videos(list(job.clips), include_paths=True)
    rows = (
        frames.filter(lambda row: row["frame_index"] in wanted)
        .map(_resized)
        .map_batches(_FrameLabeler, batch_size=64, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=0)
        .take_all()
    )
    seconds = time.monotonic() - started
    found = {f"{Path(row['path']).stem}:{row['index']}": row["label"] for row in rows}
    return Outcome(found, seconds, seconds)


def _resized(row: dict[str, Any]) -> dict[str, Any]:
    import torch

    pixels = torch.from_numpy(np.array(row["frame"])).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(pixels, SIZE, mode="bilinear", antialias=True, align_corners=False)
    return row | {"frame": small[0].round().to(torch.uint8).permute(1, 2, 0).numpy()}


def daft(job: Job) -> Outcome:
    """Daft with a fused UDF: each of two processes decodes and classifies whole clips."""
    df: Any = import_module("daft")

    @df.cls(use_process=True, max_concurrency=2, cpus=1)
    class Fused:
        def __init__(self) -> None:
            self.labels = one_threaded_labels()

        @df.method.batch(return_dtype=df.DataType.string(), batch_size=1)  # type: ignore[untyped-decorator]
        def run(self, paths: Any) -> list[str]:
            answers = []
            for path in paths.to_pylist():
                found: dict[str, str] = {}
                for batch in decoded(path, job):
                    note(found, path, batch.indices, self.labels.classify(batch.pixels))
                answers.append(json.dumps(found))
            return answers

    started = time.monotonic()
    table: Any = df.from_pydict({"path": list(job.clips)}).into_batches(1)
    answers = table.with_column("found", Fused().run(df.col("path"))).to_pydict()["found"]
    seconds = time.monotonic() - started
    return Outcome({key: label for answer in answers for key, label in json.loads(answer).items()}, seconds, seconds)


def _read(output: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    found = {}
    for part in output.rglob("labels/part-*.parquet"):
        clip = part.parent.parent.name.split(".")[0]
        for row in pq.read_table(part).to_pylist():
            found[f"{clip}:{row['frame_index']}"] = row["labels"][0]["label"]
    return found


PEERS: dict[str, Callable[[Job], Outcome]] = {
    "limit": limit,
    "whole_clips": whole_clips,
    "serve": serve,
    "ray_data": ray_data,
    "documented_pattern": documented_pattern,
    "daft": daft,
}

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text())
    outcome = PEERS[sys.argv[1]](Job(tuple(given["clips"]), given["fps"], given["side"]))
    print(json.dumps(outcome.__dict__), flush=True)
