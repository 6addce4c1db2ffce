"""The command line of batch jobs: `python -m pipelines.video`, `pipelines.images`, `pipelines.audio`."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from pipelines import logs
from pipelines.analyzers.registry import analyzer_names, check_analyzers, check_options, describe, own_names
from pipelines.batch.job import BatchJob, BatchResult
from pipelines.batch.outcomes import OtherJob
from pipelines.batch.run import TooManyErrors, run
from pipelines.errors import MediaError
from pipelines.media.decoders.contract import DECODERS
from pipelines.media.sampling import SAMPLING_FORMS, check_sampling, plan_segments

# Ray sets it for the program of `ray job submit`.
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# `ray job submit` reads the log up to 3 s late, and a worker ends soon after its last work: what was printed last, the
# result, would be lost.
_LOG_TAIL_S = 4.0
_ERRORS_PRINTED = 100


def main(arguments: Sequence[str] | None, kind: str, analyzers: Sequence[str]) -> int:
    """Run the job; the last line printed is a summary as JSON. 1 when all, too many or no media were done."""
    status = _run(parse(arguments, kind, analyzers))
    if _IN_A_JOB in os.environ and _is_worker():
        time.sleep(_LOG_TAIL_S)
    return status


def _run(job: BatchJob) -> int:
    logs.configure("batch job", job.log_format)
    try:
        result = run_on_worker(job)
    except MediaError as error:
        result = BatchResult(errors=[{"error": str(error), "media_uri": error.uri, "name": ""}])
    except (TooManyErrors, OtherJob) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    for problem in result.errors[:_ERRORS_PRINTED]:
        print(problem["error"], file=sys.stderr)
    if len(result.errors) > _ERRORS_PRINTED:
        print(f"... and {len(result.errors) - _ERRORS_PRINTED} more errors: the report has all", file=sys.stderr)
    if result.status == "failed":
        print(f"all {result.media} media failed", file=sys.stderr, flush=True)
    print(result.summary(job.output_uri), flush=True)
    return 1 if result.status == "failed" else 0


def run_on_worker(job: BatchJob) -> BatchResult:
    """`run`, here if this node has CPUs, else as a Ray task on one that has."""
    import ray  # noqa: PLC0415

    ray.init(ignore_reinit_error=True)
    if _is_worker():
        return run(job)
    print("This driver runs on a node without CPUs: it moves to a worker.", flush=True)
    try:
        result: BatchResult = ray.get(ray.remote(num_cpus=1, max_retries=0)(run).remote(job))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return result


def _is_worker() -> bool:
    """Whether this node has CPUs for work. The head has none."""
    import ray  # noqa: PLC0415

    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    return bool(node["Resources"].get("CPU", 0) >= 1)


def parse(arguments: Sequence[str] | None, kind: str, analyzers: Sequence[str]) -> BatchJob:
    """The command line as a BatchJob; wrong ones exit with status 2."""
    parser = _parser(kind, analyzers)
    given = parser.parse_args(arguments)
    try:
        names = _suitable(check_analyzers(name for name in given.analyzers.split(",") if name), kind)
        own_names(names)
        options = _options(given.option, names)
        sampling = given.sampling or (f"{given.fps:g}fps" if given.fps is not None else "")
        if sampling:
            check_sampling(sampling)
        plan_segments(1.0, given.segment_s)
    except ValueError as error:
        parser.error(str(error))
    if not names or given.max_gpus < 0 or given.segments_at_once < 0 or not 0 <= given.max_error_share <= 1:
        parser.error(
            "give an analyzer or more, --max-gpus and --segments-at-once from 0, --max-error-share from 0 to 1"
        )
    return BatchJob(
        inputs=tuple(given.input),
        output_uri=given.output,
        analyzers=names,
        sampling=sampling,
        options=options,
        segment_s=given.segment_s,
        max_gpus=given.max_gpus,
        segments_at_once=given.segments_at_once,
        max_error_share=given.max_error_share,
        resume=given.resume,
        decoder=given.decoder,
        hardware_decoding=given.hardware_decoding,
        private_hosts=given.private_hosts,
        log_format=given.log_format,
        kind=kind,
    )


def _suitable(names: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """The names. Raises ValueError for an analyzer that can do nothing with this kind of media."""

    def suits(name: str) -> bool:
        known = describe(name)
        if kind == "video":
            return True
        return known.takes == "audio" if kind == "audio" else known.takes == "frames" and known.stills

    if wrong := [name for name in names if not suits(name)]:
        allowed = ", ".join(name for name in analyzer_names() if suits(name))
        raise ValueError(f"--analyzers: {', '.join(wrong)} can do nothing with {kind}; choose from: {allowed}")
    return names


def _parser(kind: str, analyzers: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{kind}", description=__doc__)
    add = parser.add_argument
    add("--input", nargs="+", required=True, help="files, folders, prefixes, or .txt manifests; local, http(s), s3")
    add("--private-hosts", action="store_true", help="URLs may lead into a private network; else only to public hosts")
    add("--output", required=True, help="folder or s3:// prefix for the Parquet parts, errors and the manifest")
    add("--analyzers", default=",".join(analyzers))
    add("--option", action="append", default=[], metavar="ANALYZER.NAME=VALUE", help="VALUE as JSON; repeatable")
    if kind == "video":
        add("--fps", type=float, help="frames a second for analyzers that look at samples; short for --sampling")
        add("--sampling", default="", help=SAMPLING_FORMS)
        add("--decoder", default="", choices=["", *DECODERS], help="overrides the choice per file")
        add(
            "--hardware-decoding",
            action="store_true",
            help="NVDEC where it is right and proves itself; the media's bytes reach the GPU's driver then",
        )
    if kind != "images":
        add("--segment-s", type=float, default=60.0)
    add("--max-gpus", type=int, default=1, help="0 runs on CPUs")
    add(
        "--segments-at-once",
        type=int,
        default=0,
        help="segments that share one GPU's models, each with its own decoder; 0: one a core, two without a GPU",
    )
    add("--max-error-share", type=float, default=0.5, help="end the job when more of its media fail (0 to 1)")
    add("--log-format", default="text", choices=["text", "json"], help="of the log's lines on standard error")
    parser.set_defaults(fps=None, sampling="", decoder="", hardware_decoding=False, segment_s=60.0)
    add("--resume", action="store_true", help="go on where a run with the same settings was ended")
    return parser


def _options(given: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {}
    for text in given:
        target, equals, value = text.partition("=")
        analyzer, _, name = target.partition(".")
        if analyzer not in names or not name or not equals:
            raise ValueError(f"--option {text!r}: write ANALYZER.NAME=VALUE with one of {', '.join(names)}")
        options.setdefault(analyzer, {})[name] = _value(value)
    return {analyzer: check_options(analyzer, values) for analyzer, values in options.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
