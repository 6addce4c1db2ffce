"""Thousands of media as one Ray Data job: plan the segments, run them on actors, keep every outcome.

The job never asks for more than it was allowed: its driver needs one CPU on a worker, each actor one GPU and one CPU,
nothing else asks for anything. Frames stay inside the actors; only tasks and reports travel.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.analyzers import lane_of
from pipelines.errors import MediaError, without_query
from pipelines.inputs import list_media
from pipelines.isolation import DecodeProcesses
from pipelines.outcomes import Outcomes, media_key
from pipelines.results import write_results
from pipelines.sampling import parse_sampling, plan_segments, segments_touched
from pipelines.sources import MediaInfo
from pipelines.video import SegmentAnalyzer, SegmentTask

_RAY_DATA_NAMESPACES = {
    "ActorLocationTracker",
    "AutoscalingCoordinator",
    "AutoscalingRequester",
    "DataUsageCollectionActor",
    "_dataset_stats_actor",
    "_dataset_stats_summary_actor",
}
_MOST_BLOCKS = 2000
_JUDGED_FROM = 20  # so many media must have been tried before too many errors end a job


@dataclass(frozen=True)
class BatchJob:
    """What the command line asked for. `max_gpus` 0: on CPUs."""

    inputs: tuple[str, ...]
    output_uri: str
    analyzers: tuple[str, ...]
    sampling: str = ""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    segment_s: float = 60.0
    max_gpus: int = 1
    segments_at_once: int = 2
    media_s_per_gpu: float = 300.0  # another GPU only when it has this much to do
    max_error_share: float = 0.5
    resume: bool = False
    decoder: str = ""

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that it resumes."""
        kept = ("analyzers", "sampling", "options", "segment_s", "decoder")
        return {key: value for key, value in json.loads(json.dumps(asdict(self))).items() if key in kept}


@dataclass
class BatchResult:
    """What came of it. `results` are reports with their media's URI; `errors` name file, time and cause."""

    media: int = 0
    segments: int = 0
    resumed: int = 0
    frames: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """ "succeeded", "partial" (some media failed) or "failed" (all did)."""
        if not self.errors:
            return "succeeded"
        return "partial" if self.results else "failed"

    def add(self, outcome: dict[str, Any]) -> None:
        """Count one segment."""
        (self.errors if "error" in outcome else self.results).append(outcome)
        self.frames += outcome.get("frames", 0)

    def manifest(self) -> dict[str, Any]:
        """The same whatever run or machine did the work: no seconds, and in order."""
        done = [{key: value for key, value in result.items() if key != "seconds"} for result in self.results]
        return {
            "status": self.status,
            "media": self.media,
            "segments": self.segments,
            "frames": self.frames,
            "results": sorted(done, key=lambda r: r["name"]),
            "errors": sorted(self.errors, key=lambda e: e["name"]),
        }

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"status": self.status, **self.__dict__})


class TooManyErrors(RuntimeError):
    """The job was ended because too many of its media failed."""


class SegmentActor:
    """Ray Data's actor: holds the models, takes some tasks at a time, and writes each one's outcome itself."""

    def __init__(self, output_uri: str) -> None:
        self._analyzer = SegmentAnalyzer()
        self._outcomes = Outcomes(output_uri)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """{"task": [JSON]} -> {"outcome": [JSON]}; a damaged file is an outcome, not a failure of the job."""
        return {"outcome": [json.dumps(self._outcome(json.loads(task))) for task in batch["task"]]}

    def _outcome(self, data: dict[str, Any]) -> dict[str, Any]:
        task, name = SegmentTask.from_dict(data), data["name"]
        outcome: dict[str, Any] = {"name": name, "media_uri": without_query(task.media_uri)}
        try:
            outcome |= self._analyzer.run(task).to_dict()
        except MediaError as error:
            outcome |= {"error": str(error), "time_s": error.time_s, "segment_index": task.segment.index}
        self._outcomes.add(name, outcome)
        return outcome


def plan(job: BatchJob, probe: Callable[[str], MediaInfo]) -> tuple[dict[str, SegmentTask], BatchResult]:
    """Every segment of every input, by name. Unreadable media are errors in the result, not exceptions."""
    lanes = {lane: tuple(n for n in job.analyzers if lane_of(n) == lane) for lane in ("gpu", "cpu")}
    tasks, result = {}, BatchResult()
    for uri, info in _probed(list_media(job.inputs), probe):
        result.media += 1
        key = media_key(uri)
        if isinstance(info, MediaError):
            result.add({"name": key, "media_uri": without_query(uri), "error": str(info), "time_s": info.time_s})
            continue
        segments = plan_segments(info.duration_s, job.segment_s, info.cut_points_s)
        if job.sampling:
            segments = segments_touched(segments, parse_sampling(job.sampling, info.duration_s))
        for segment in segments:
            for lane, names in lanes.items():
                if names:
                    tasks[f"{key}-{segment.index:05d}-{lane}"] = SegmentTask(
                        media_uri=uri,
                        segment=segment,
                        info=info.without_cut_points(),
                        analyzers=names,
                        output_uri=f"{job.output_uri.rstrip('/')}/media/{key}",
                        options={n: job.options[n] for n in names if n in job.options},
                        sampling=job.sampling,
                        decoder=job.decoder,
                    )
    result.segments = len(tasks)
    return tasks, result


def _probed(uris: Sequence[str], probe: Callable[[str], MediaInfo]) -> Iterator[tuple[str, MediaInfo | MediaError]]:
    """Headers, several at a time: with remote media it is waiting, not work."""

    def one(uri: str) -> tuple[str, MediaInfo | MediaError]:
        try:
            return uri, probe(uri)
        except MediaError as error:
            return uri, error

    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        yield from pool.map(one, uris)


def run(job: BatchJob) -> BatchResult:
    """Plan and run with Ray Data, printing progress. Needs an initialised Ray. Raises TooManyErrors, OtherJob."""
    outcomes = Outcomes(job.output_uri)
    finished = outcomes.begin(job.identity(), job.resume)
    tasks, result = plan(job, DecodeProcesses().probe)
    known = {name: finished[name] for name in tasks if name in finished}
    for outcome in known.values():
        result.add(outcome)
    result.resumed = len(known)
    left = {name: task for name, task in tasks.items() if name not in known}
    print(
        f"{result.media} media, {len(tasks)} segments, {len(known)} done before, {len(result.errors)} errors so far",
        flush=True,
    )
    _check_errors(job, result)
    try:
        for lane in ("gpu", "cpu"):
            _run_lane(job, {n: t for n, t in left.items() if n.endswith(lane)}, lane, result)
    finally:
        _end_lingering_actors()
        for key, errors in _by_media(result.errors).items():
            outcomes.add_errors(key, errors)
    _write_whole_results(job, tasks, result)
    outcomes.finish(result.manifest())
    return result


def _write_whole_results(job: BatchJob, tasks: Mapping[str, SegmentTask], result: BatchResult) -> None:
    """Insights and a manifest for each media item none of whose segments failed."""
    failed = {media_key(error["media_uri"]) for error in result.errors}
    media = {media_key(task.media_uri): task for task in tasks.values()}
    for key, task in media.items():
        if key not in failed:
            write_results(task.output_uri, task.media_uri, task.info.duration_s, job.analyzers)


def _run_lane(job: BatchJob, tasks: Mapping[str, SegmentTask], lane: str, result: BatchResult) -> None:
    started, frames_before = time.monotonic(), result.frames
    for done, outcome in enumerate(_outcomes(job, tasks, lane) if tasks else (), start=1):
        result.add(outcome)
        spent_s = time.monotonic() - started
        left_s = spent_s / done * (len(tasks) - done)
        rate = (result.frames - frames_before) / spent_s
        print(
            f"{done}/{len(tasks)} {lane} segments, {result.frames} frames ({rate:.0f}/s), {len(result.errors)} errors, "
            f"about {left_s:.0f} s left",
            flush=True,
        )
        _check_errors(job, result)


def _check_errors(job: BatchJob, result: BatchResult) -> None:
    failed = len({error["media_uri"] for error in result.errors})
    tried = len({outcome["media_uri"] for outcome in [*result.errors, *result.results]})
    if tried >= _JUDGED_FROM and failed > job.max_error_share * tried:
        raise TooManyErrors(
            f"{failed} of {tried} media failed, more than --max-error-share {job.max_error_share:g}; "
            "see errors/, then go on with --resume"
        )


def _by_media(errors: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for error in sorted(errors, key=lambda e: e["name"]):
        grouped.setdefault(media_key(error["media_uri"]), []).append(error)
    return grouped


def wanted_actors(job: BatchJob, media_s: float) -> int:
    """How many GPUs so much media is worth: one GPU's worth of work buys one machine."""
    return max(1, min(job.max_gpus, math.ceil(media_s / job.media_s_per_gpu)))


def _outcomes(job: BatchJob, tasks: Mapping[str, SegmentTask], lane: str) -> Iterator[dict[str, Any]]:
    import ray  # noqa: PLC0415

    gpus = 1 if job.max_gpus and lane == "gpu" else 0
    actors = wanted_actors(job, sum(task.segment.end_s - task.segment.start_s for task in tasks.values()))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.op_resource_reservation_enabled = False  # it would keep small nodes half idle
    # Without limits Ray Data asks the autoscaler for more as soon as it could use more.
    context.execution_options.resource_limits = ray.data.ExecutionResources(cpu=actors, gpu=actors * gpus)
    rows = [{"task": json.dumps({**task.to_dict(), "name": name})} for name, task in tasks.items()]
    outcomes = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map_batches(
        SegmentActor,
        fn_constructor_args=(job.output_uri,),
        batch_size=1,
        num_cpus=1,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(
            size=actors,
            max_concurrent_calls_per_actor=job.segments_at_once,
            max_tasks_in_flight_per_actor=2 * job.segments_at_once,
            enable_true_multi_threading=True,
        ),
    )
    return (json.loads(row["outcome"]) for row in outcomes.iter_rows())


def _end_lingering_actors() -> None:
    """End the detached helpers that Ray Data leaves on the node that drove it: they would keep it from being idle."""
    import ray  # noqa: PLC0415
    from ray.util.state import list_actors  # noqa: PLC0415
    from ray.util.state.exception import RayStateApiException  # noqa: PLC0415

    context = ray.get_runtime_context()
    here = [("node_id", "=", context.get_node_id()), ("state", "=", "ALIVE")]
    try:
        actors = list_actors(context.gcs_address, filters=here, limit=1000)
    except RayStateApiException:  # Ray runs without its dashboard: there is no idle node to give back
        return
    for actor in actors:
        if actor.name and actor.ray_namespace in _RAY_DATA_NAMESPACES:
            ray.kill(ray.get_actor(actor.name, namespace=actor.ray_namespace))
