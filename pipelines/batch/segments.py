"""Batch jobs on videos and on sound: each media item is cut into segments."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.analyzers.registry import lane_of, own_names
from pipelines.batch.inputs import list_media
from pipelines.batch.job import BatchJob, BatchResult, Outcome, Plan
from pipelines.batch.outcomes import for_now, media_key
from pipelines.batch.progress import told
from pipelines.errors import MediaError, without_query
from pipelines.media.addresses import is_local
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import Segment, parse_sampling, plan_segments, segments_touched
from pipelines.media.sources import MediaInfo
from pipelines.models.devices import AT_ONCE_ON_CPUS, segments_at_once
from pipelines.records.results import write_results
from pipelines.segments.applicability import applicable
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentTask

Probe = Callable[[str], MediaInfo]
_LOCAL_FILES_PER_PROBER = 100


@dataclass(frozen=True)
class SegmentJobs:
    """See Kind."""

    unit = "segments"

    def at_once(self, job: BatchJob, lane: str, cores: int) -> int:
        if lane == "cpu" or not job.max_gpus:
            return AT_ONCE_ON_CPUS
        return segments_at_once(cores, job.media_s_per_gpu, job.segment_s)

    def plan(self, job: BatchJob, finished: Mapping[str, Outcome]) -> Plan:
        tasks, result = plan(job, DecodeProcesses().probe)
        return Plan(tasks, {name: finished[name] for name in tasks if name in finished}, result)

    def perform(
        self, analyzer: SegmentAnalyzer, name: str, task: Mapping[str, Any], on_last_frame: Callable[[], None]
    ) -> Outcome:
        segment_task = SegmentTask.from_dict(dict(task))
        outcome: Outcome = {"name": name, "media_uri": without_query(segment_task.media_uri)}
        try:
            return outcome | analyzer.run(segment_task, on_last_frame=on_last_frame).to_dict()
        except MediaError as error:
            return outcome | _error(error) | {"segment_index": segment_task.segment.index}

    def whole_of(self, name: str) -> str:
        return name.rsplit("-", 2)[0]

    def write_whole(self, job: BatchJob, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        task = plan.tasks[outcomes[0]["name"]]
        write_results(task.output_uri, task.media_uri, task.info.duration_s, own_names(job.analyzers))


def plan(job: BatchJob, probe: Probe) -> tuple[dict[str, SegmentTask], BatchResult]:
    """Every segment of every input, by name. Unreadable media are errors in the result, not exceptions.

    So are analyzers that can do nothing with a file, such as labels with a recording: the others run all the same.
    """
    tasks: dict[str, SegmentTask] = {}
    result = BatchResult()
    for uri, info in _probed(list_media(job.inputs, job.kind, job.private_hosts), probe):
        result.media += 1
        key = media_key(uri)
        fits, error = ((), info) if isinstance(info, MediaError) else applicable(info, job.analyzers)
        if error is not None:
            result.add({"name": key, "media_uri": without_query(uri)} | _error(error))
        if not isinstance(info, MediaError) and fits:
            for segment in _segments(job, info):
                for lane, names in by_lane(fits).items():
                    task = _task(job, uri, info, segment, names)
                    tasks[f"{key}-{segment.index:05d}-{lane}"] = task
    result.segments = len(tasks)
    return tasks, result


def by_lane(analyzers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The analyzers of each lane that has some."""
    lanes = {lane: tuple(name for name in analyzers if lane_of(name) == lane) for lane in ("gpu", "cpu")}
    return {lane: names for lane, names in lanes.items() if names}


def _segments(job: BatchJob, info: MediaInfo) -> Sequence[Segment]:
    segments = plan_segments(info.duration_s, job.segment_s, info.cut_points_s)
    if job.sampling:
        return segments_touched(segments, parse_sampling(job.sampling, info.duration_s))
    return segments


def _task(job: BatchJob, uri: str, info: MediaInfo, segment: Segment, names: tuple[str, ...]) -> SegmentTask:
    return SegmentTask(
        media_uri=uri,
        segment=segment,
        info=info.without_cut_points(),
        analyzers=names,
        output_uri=f"{job.output_uri.rstrip('/')}/media/{media_key(uri)}",
        options={name: job.options[name] for name in names if name in job.options},
        sampling=job.sampling,
        decoder=job.decoder,
    )


def _error(error: MediaError) -> Outcome:
    return {"error": str(error), "time_s": error.time_s} | for_now(error)


def _probed(uris: Sequence[str], probe: Probe) -> Iterator[tuple[str, MediaInfo | MediaError]]:
    """Headers, several at a time."""

    def one(uri: str) -> tuple[str, MediaInfo | MediaError]:
        try:
            return uri, probe(uri)
        except MediaError as error:
            return uri, error

    with ThreadPoolExecutor(_probers(uris)) as pool:
        yield from told(pool.map(one, uris), len(uris), "headers read")


def _probers(uris: Sequence[str]) -> int:
    """How many read headers: with remote media it is waiting; of local files many are done while a process starts."""
    cores = os.cpu_count() or 1
    if not all(map(is_local, uris)):
        return min(8, 2 * cores)
    return max(1, min(cores, len(uris) // _LOCAL_FILES_PER_PROBER))
