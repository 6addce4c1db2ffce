"""A folder of videos as one Ray Data job: `python -m pipelines.video --input ... --output ...`.

The job never asks for more than it was allowed: its driver needs one CPU on a worker, each actor one GPU and one CPU,
nothing else asks for anything. Frames stay inside the actors; only tasks and reports travel.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.analyzers import check_analyzers
from pipelines.errors import MediaError, UnknownAnalyzer, file_name
from pipelines.inputs import list_media
from pipelines.sampling import FramesPerSecond, plan_segments
from pipelines.sources import probe_isolated
from pipelines.video import SegmentAnalyzer, SegmentTask

_RAY_DATA_NAMESPACES = {
    "ActorLocationTracker",
    "AutoscalingCoordinator",
    "AutoscalingRequester",
    "DataUsageCollectionActor",
    "_dataset_stats_actor",
    "_dataset_stats_summary_actor",
}
_HINT = "This driver started on a node without CPUs. It moves to a worker; --entrypoint-num-cpus 1 starts it there."


@dataclass(frozen=True)
class BatchJob:
    """What the command line asked for."""

    inputs: tuple[str, ...]
    output_uri: str
    analyzers: tuple[str, ...]
    fps: float = 2.0
    segment_s: float = 60.0
    max_gpus: int = 1  # 0: run on CPUs


@dataclass
class BatchResult:
    """What came of it. `results` are reports with their media's URI; `errors` name file and cause."""

    media: int = 0
    segments: int = 0
    frames: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """ "succeeded", "partial" (some media failed) or "failed" (all did)."""
        if not self.errors:
            return "succeeded"
        return "partial" if self.results else "failed"

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"status": self.status, **self.__dict__})


class SegmentActor:
    """Ray Data's actor: holds the models, takes one task at a time."""

    def __init__(self, analyzers: tuple[str, ...], fps: float) -> None:
        self._analyzer = SegmentAnalyzer(analyzers, options={"labels": {"fps": fps}})

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """{"task": [JSON]} -> {"outcome": [JSON]}; a damaged file is an outcome, not a failure of the job."""
        return {"outcome": [self._outcome(json.loads(task)) for task in batch["task"]]}

    def _outcome(self, data: dict[str, Any]) -> str:
        task = SegmentTask.from_dict(data)
        try:
            report = self._analyzer.run(task).to_dict()
        except MediaError as error:
            return json.dumps({"error": str(error), "media_uri": task.media_uri, "segment": task.segment.index})
        return json.dumps({"media_uri": task.media_uri, **report})


def plan(job: BatchJob) -> tuple[list[SegmentTask], BatchResult]:
    """Every segment of every input. Unreadable media are errors in the result, not exceptions."""
    tasks, result = [], BatchResult()
    for number, uri in enumerate(list_media(job.inputs)):
        result.media += 1
        try:
            info = probe_isolated(uri)
        except MediaError as error:
            result.errors.append({"error": str(error), "media_uri": uri})
            continue
        # The number keeps two videos of one name apart.
        output = f"{job.output_uri.rstrip('/')}/{number:05d}-{file_name(uri)}"
        tasks += [
            SegmentTask(uri, segment, info, job.analyzers, output)
            for segment in plan_segments(info.duration_s, job.segment_s)
        ]
    result.segments = len(tasks)
    return tasks, result


def run(job: BatchJob) -> BatchResult:
    """Plan and run with Ray Data, printing progress. Needs an initialised Ray."""
    tasks, result = plan(job)
    print(f"{result.media} media, {result.segments} segments, {len(result.errors)} unreadable", flush=True)
    started = time.monotonic()
    try:
        for done, outcome in enumerate(_outcomes(job, tasks) if tasks else (), start=1):
            (result.errors if "error" in outcome else result.results).append(outcome)
            result.frames += outcome.get("frames", 0)
            left_s = (time.monotonic() - started) / done * (len(tasks) - done)
            print(f"{done}/{len(tasks)} segments, {result.frames} frames, about {left_s:.0f} s left", flush=True)
    finally:
        _end_lingering_actors()
    return result


def _end_lingering_actors() -> None:
    """End the detached helpers that Ray Data leaves on the node that drove it: they would keep it from being idle."""
    import ray  # noqa: PLC0415
    from ray.util.state import list_actors  # noqa: PLC0415

    here = ray.get_runtime_context().get_node_id()
    for actor in list_actors(filters=[("node_id", "=", here), ("state", "=", "ALIVE")], limit=1000):
        if actor.name and actor.ray_namespace in _RAY_DATA_NAMESPACES:
            ray.kill(ray.get_actor(actor.name, namespace=actor.ray_namespace))


def _outcomes(job: BatchJob, tasks: Sequence[SegmentTask]) -> Any:
    import ray  # noqa: PLC0415

    workers = max(1, min(job.max_gpus, len(tasks)))
    gpus = 1 if job.max_gpus else 0
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.op_resource_reservation_enabled = False  # it would keep small nodes half idle
    # Without limits Ray Data asks the autoscaler for more as soon as it could use more.
    context.execution_options.resource_limits = ray.data.ExecutionResources(cpu=workers, gpu=workers * gpus)
    rows = [{"task": json.dumps(task.to_dict())} for task in tasks]
    outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        SegmentActor,
        fn_constructor_args=(job.analyzers, job.fps),
        batch_size=1,
        num_cpus=1,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    return (json.loads(row["outcome"]) for row in outcomes.iter_rows())


def run_on_worker(job: BatchJob) -> BatchResult:
    """`run`, here if this node has CPUs, else as a Ray task on one that has."""
    import ray  # noqa: PLC0415

    ray.init(ignore_reinit_error=True)
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    if node["Resources"].get("CPU", 0) >= 1:
        return run(job)
    print(_HINT, flush=True)
    result: BatchResult = ray.get(ray.remote(num_cpus=1, max_retries=0)(run).remote(job))
    return result


def parse(arguments: Sequence[str] | None, analyzers: Sequence[str]) -> BatchJob:
    """The command line as a BatchJob; wrong ones exit with status 2."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.video", description=__doc__)
    parser.add_argument("--input", nargs="+", required=True, help="files, folders or prefixes; local, http(s), s3")
    parser.add_argument("--output", required=True, help="folder or s3:// prefix for the Parquet parts")
    parser.add_argument("--analyzers", default=",".join(analyzers))
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second for labels")
    parser.add_argument("--segment-s", type=float, default=60.0)
    parser.add_argument("--max-gpus", type=int, default=1, help="0 runs on CPUs")
    given = parser.parse_args(arguments)
    try:
        names = check_analyzers(name for name in given.analyzers.split(",") if name)
        FramesPerSecond(given.fps)
        plan_segments(1.0, given.segment_s)
    except (UnknownAnalyzer, ValueError) as error:
        parser.error(str(error))
    if not names or given.max_gpus < 0:
        parser.error("at least one analyzer, and --max-gpus 0 or more")
    return BatchJob(tuple(given.input), given.output, names, given.fps, given.segment_s, given.max_gpus)


def main(arguments: Sequence[str] | None, analyzers: Sequence[str]) -> int:
    """Run the job; the last line printed is its result as JSON. 1 when all media fail, or there are none."""
    job = parse(arguments, analyzers)
    try:
        result = run_on_worker(job)
    except MediaError as error:
        result = BatchResult(errors=[{"error": str(error), "media_uri": error.uri}])
    for problem in result.errors:
        print(problem["error"], file=sys.stderr)
    if result.status == "failed":
        print(f"all {result.media} media failed", file=sys.stderr, flush=True)
    print(result.to_json(), flush=True)
    return 1 if result.status == "failed" else 0
