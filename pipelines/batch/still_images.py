"""Batch jobs on pictures: bundles of them go through the models together, and a bundle's records are one part.

A part's column `media` says which picture a record is about.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import pyarrow as pa

from pipelines.analyzers.contract import Analyzer
from pipelines.analyzers.registry import check_analyzers, own_names
from pipelines.batch.inputs import list_media
from pipelines.batch.job import BatchJob, BatchResult, Outcome, Plan
from pipelines.batch.outcomes import for_now, media_key
from pipelines.batch.segments import by_lane
from pipelines.errors import file_name, without_query
from pipelines.media.sampling import Segment
from pipelines.models.devices import AT_WORK
from pipelines.records.provenance import PartOrigin
from pipelines.records.results import write_picture_results
from pipelines.records.sinks import write_part
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.still_images import watch_pictures

PICTURES_TOGETHER = 128
_BUNDLES_AT_ONCE = 2  # each is read by as many processes as there are cores
_MEDIA_S = 0.5  # a picture is about as much work as so many seconds of video
_THE_SEGMENT = Segment(0, 0.0, 0.0, last=True)


@dataclass(frozen=True)
class PicturesTask:
    """A unit of work: pictures, by analyzers of one lane, to `{output_uri}/{analyzer}/part-00000.parquet`."""

    media_uris: tuple[str, ...]
    analyzers: tuple[str, ...]
    output_uri: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def media_s(self) -> float:
        """See Task."""
        return _MEDIA_S * len(self.media_uris)

    def to_dict(self) -> dict[str, Any]:
        """See Task."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PicturesTask":
        """The inverse of `to_dict`."""
        lists = {name: tuple(data[name]) for name in ("media_uris", "analyzers")}
        return cls(output_uri=data["output_uri"], options=data["options"], **lists)


@dataclass(frozen=True)
class PictureJobs:
    """See Kind."""

    unit = "bundles of pictures"
    together: int = PICTURES_TOGETHER

    def at_once(self, job: BatchJob, lane: str, cores: int) -> int:
        return _BUNDLES_AT_ONCE

    def plan(self, job: BatchJob, finished: Mapping[str, Outcome]) -> Plan:
        uris = list_media(job.inputs, job.kind, job.private_hosts)
        known = {without_query(uri) for uri in uris}
        done = {name: outcome for name, outcome in finished.items() if known.issuperset(outcome["pictures"])}
        tasks: dict[str, PicturesTask] = {}
        for lane, names in by_lane(job.analyzers).items():
            of_lane = [outcome["pictures"] for name, outcome in done.items() if name.endswith(f"-{lane}")]
            over = {uri for pictures in of_lane for uri in pictures}
            left = [uri for uri in uris if without_query(uri) not in over]
            for start in range(0, len(left), self.together):
                bundle = tuple(left[start : start + self.together])
                key = _key(bundle)
                options = {name: job.options[name] for name in names if name in job.options}
                output_uri = f"{job.output_uri.rstrip('/')}/media/{key}"
                tasks[f"{key}-{lane}"] = PicturesTask(bundle, names, output_uri, options)
        return Plan(tasks, done, BatchResult(media=len(uris), segments=len(tasks) + len(done)))

    def perform(
        self, analyzer: SegmentAnalyzer, name: str, task: Mapping[str, Any], on_last_frame: Callable[[], None]
    ) -> Outcome:
        return {"name": name} | analyse_bundle(analyzer, PicturesTask.from_dict(task), on_last_frame)

    def whole_of(self, name: str) -> str:
        return name.rpartition("-")[0]

    def write_whole(self, job: BatchJob, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        found = {name for outcome in outcomes for name in outcome["parts"]}
        folder = f"{job.output_uri.rstrip('/')}/media/{self.whole_of(outcomes[0]['name'])}"
        write_picture_results(folder, [name for name in own_names(job.analyzers) if name in found])


def analyse_bundle(
    models: SegmentAnalyzer, task: PicturesTask, on_last_frame: Callable[[], None] = lambda: None
) -> Outcome:
    """Analyse pictures and write their parts; those that cannot be read are among the outcome's `errors`.

    `on_last_frame`: see SegmentAnalyzer.run.
    """
    started = time.perf_counter()
    names = check_analyzers(task.analyzers)
    analyzers = [cast(Analyzer, models.analyzer(name, task.options.get(name))) for name in names]
    runs = [analyzer.start(_THE_SEGMENT) for analyzer in analyzers]
    with AT_WORK:
        errors = watch_pictures(task.media_uris, analyzers, runs, models.decoding)
        tables = [run.finish() for run in runs]
    on_last_frame()
    media = [without_query(uri) for uri in task.media_uris]
    parts = {}
    for name, analyzer, run, table in zip(names, analyzers, runs, tables, strict=True):
        options = dict(task.options.get(name, {}))
        origin = PartOrigin("\n".join(media), _THE_SEGMENT, analyzer.name, analyzer.version, options)
        said = origin.metadata(run.frames, "pillow", finished=True) | {"media": f"{len(media)} pictures"}
        directory = f"{task.output_uri}/{analyzer.name}"
        parts[analyzer.name] = write_part(with_media(table, media), directory, 0, said)
    return {
        "pictures": media,
        "frames": len(media) - len(errors),
        "parts": parts,
        "errors": [
            {"name": media_key(e.uri), "media_uri": without_query(e.uri), "error": str(e), "time_s": None} | for_now(e)
            for e in errors
        ],
        "seconds": time.perf_counter() - started,
    }


def with_media(table: pa.Table, media: Sequence[str]) -> pa.Table:
    """Records of a bundle, whose frame numbers are places in `media`, as records of single pictures."""
    numbers = table["frame_index"].to_pylist()
    column = table.schema.get_field_index("frame_index")
    zeros = pa.array([0] * len(numbers), pa.int64())
    single = table.set_column(column, table.schema.field(column), zeros)
    return single.add_column(0, "media", pa.array([media[number] for number in numbers], pa.string()))


def _key(bundle: Sequence[str]) -> str:
    """A name of its own for each bundle, the same in every run."""
    digest = hashlib.sha256("\n".join(without_query(uri) for uri in bundle).encode()).hexdigest()
    return f"{media_key(file_name(bundle[0])).rpartition('-')[0]}-{len(bundle)}-{digest[:10]}"
