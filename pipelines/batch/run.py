"""Thousands of media as one Ray Data job: plan the tasks, run them on actors, keep every outcome.

The job never asks for more than it was allowed: its driver needs one CPU on a worker, each actor one GPU and one CPU,
nothing else asks for anything. Frames stay inside the actors; only tasks and reports travel.
"""

import contextlib
import json
import logging
import math
import os
import pkgutil
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from pipelines import logs
from pipelines.batch.job import BatchJob, BatchResult, Kind, Outcome, Task, in_chunks
from pipelines.batch.outcomes import Outcomes, media_key
from pipelines.batch.segments import SegmentJobs
from pipelines.batch.still_images import PictureJobs
from pipelines.batch.summaries import Wholes
from pipelines.segments.segment_analyzer import SegmentAnalyzer

KINDS: dict[str, Kind] = {"video": SegmentJobs(), "audio": SegmentJobs(), "images": PictureJobs()}
_log = logging.getLogger(__name__)
_AROUND_DATASETS = "AIMA_AROUND_DATASETS"
_MOST_BLOCKS = 2000
_WRITING = 1  # threads of an actor beyond those that work
_WAITING = 2  # chunks of tasks that an actor has been given and not begun
_JUDGED_FROM = 20  # so many media must have been tried before too many errors end a job


class TooManyErrors(RuntimeError):
    """The job was ended because too many of its media failed."""


class BatchActor:
    """Ray Data's actor: holds the models, works on `at_once` tasks, and writes each one's outcome itself.

    Called from more threads than that: while some write, others work.
    """

    def __init__(
        self, kind: str, output_uri: str, at_once: int, log_format: logs.Format, hardware_decoding: bool
    ) -> None:
        logs.configure("batch worker", log_format)
        self._kind = KINDS[kind]
        self._analyzer = SegmentAnalyzer(hardware_decoding=hardware_decoding)
        self._outcomes = Outcomes(output_uri)
        self._turns = threading.Semaphore(at_once)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """{"tasks": [JSON list]} -> {"outcome": [JSON]}; a damaged file is an outcome, not a failure of the job."""
        tasks = [task for chunk in batch["tasks"] for task in json.loads(chunk)]
        return {"outcome": [json.dumps(self._outcome(task)) for task in tasks]}

    def _outcome(self, data: dict[str, Any]) -> Outcome:
        name = data.pop("name")
        self._turns.acquire()
        turn_over = cache(self._turns.release)  # given back once, whoever says so first
        try:
            with logs.about(segment=name):
                outcome = self._kind.perform(self._analyzer, name, data, turn_over)
        finally:
            turn_over()
        self._outcomes.add(name, outcome)
        return outcome


def around_datasets() -> AbstractContextManager[None]:
    """What the cluster wants datasets to be carried out in: a function that it names by a variable, or nothing."""
    import ray.data  # noqa: F401, PLC0415 - whether it is replaced in parts or not

    named = os.environ.get(_AROUND_DATASETS)
    try:
        return pkgutil.resolve_name(named)() if named else contextlib.nullcontext()
    except (ImportError, AttributeError) as error:
        _log.warning("datasets are carried out by Ray Data as it is: %s", error)
        return contextlib.nullcontext()


def run(job: BatchJob) -> BatchResult:
    """Plan and run with Ray Data, printing progress, on an initialised Ray.

    Raises MediaError for inputs that name nothing, TooManyErrors, OtherJob.
    """
    # Ray Data takes a good part of a second to import, in which other processes read headers.
    threading.Thread(target=around_datasets).start()
    kind, outcomes = KINDS[job.kind], Outcomes(job.output_uri)
    plan = kind.plan(job, outcomes.begin(job.identity(), job.resume))
    result = plan.result
    try:
        with Wholes(kind, job, plan) as wholes:
            for outcome in plan.done.values():
                result.add(outcome)
                wholes.note(outcome)
            result.resumed = len(plan.done)
            print(
                f"{result.media} media, {result.segments} {kind.unit}, {result.resumed} done before, "
                f"{len(result.errors)} errors so far",
                flush=True,
            )
            _check_errors(job, result)
            with around_datasets():
                for lane in ("gpu", "cpu"):
                    for outcome in _run_lane(job, plan.left(lane), lane, result):
                        wholes.note(outcome)
    finally:
        for key, errors in _by_media(result.errors).items():
            outcomes.add_errors(key, errors)
    outcomes.finish(result.manifest())
    return result


def _run_lane(job: BatchJob, tasks: Mapping[str, Task], lane: str, result: BatchResult) -> Iterator[Outcome]:
    started, frames_before = time.monotonic(), result.frames
    with contextlib.closing(_outcomes(job, tasks, lane)) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            result.add(outcome)
            yield outcome
            spent_s = time.monotonic() - started
            left_s = spent_s / done * (len(tasks) - done)
            rate = (result.frames - frames_before) / spent_s
            print(
                f"{done}/{len(tasks)} {lane} {KINDS[job.kind].unit}, {result.frames} frames ({rate:.0f}/s), "
                f"{len(result.errors)} errors, about {left_s:.0f} s left",
                flush=True,
            )
            _check_errors(job, result)


def _check_errors(job: BatchJob, result: BatchResult) -> None:
    failed, tried = len({error["media_uri"] for error in result.errors}), result.tried
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


def _outcomes(job: BatchJob, tasks: Mapping[str, Task], lane: str) -> Generator[Outcome]:
    import ray  # noqa: PLC0415

    if not tasks:
        return
    gpus = 1 if job.max_gpus and lane == "gpu" else 0
    actors = wanted_actors(job, sum(task.media_s for task in tasks.values()))
    cores = len(os.sched_getaffinity(0))
    at_once = job.segments_at_once or KINDS[job.kind].at_once(job, lane, cores)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.op_resource_reservation_enabled = False  # it would keep small nodes half idle
    # Outcomes are small and nobody waits for them; else Ray Data may think that they pile up, and leave actors idle.
    context.downstream_capacity_backpressure_ratio = None
    context.execution_options.resource_limits = ray.data.ExecutionResources(cpu=actors, gpu=actors * gpus)
    rows = [
        {"tasks": json.dumps([{**tasks[name].to_dict(), "name": name} for name in chunk])}
        for chunk in in_chunks(tasks, actors * at_once, job.segment_s)
    ]
    outcomes = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map_batches(
        BatchActor,
        fn_constructor_args=(job.kind, job.output_uri, at_once, job.log_format, job.hardware_decoding),
        batch_size=1,
        num_cpus=1,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(
            size=actors,
            max_concurrent_calls_per_actor=at_once + _WRITING,
            max_tasks_in_flight_per_actor=at_once + _WAITING,
            enable_true_multi_threading=True,
        ),
    )
    for row in outcomes.iter_rows():
        yield json.loads(row["outcome"])
