"""A batch job as values: what was asked for, what is to be done, and what came of it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from pipelines.logs import Format
from pipelines.segments.segment_analyzer import SegmentAnalyzer

Outcome = dict[str, Any]


@dataclass(frozen=True)
class BatchJob:
    """What the command line asked for. `max_gpus` 0: on CPUs; `kind`: "video", "audio" or "images"."""

    inputs: tuple[str, ...]
    output_uri: str
    analyzers: tuple[str, ...]
    sampling: str = ""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    segment_s: float = 60.0
    max_gpus: int = 1
    segments_at_once: int = 0  # 0: see Kind.at_once
    media_s_per_gpu: float = 300.0  # another GPU only when it has this much to do
    max_error_share: float = 0.5
    resume: bool = False
    decoder: str = ""
    hardware_decoding: bool = False
    kind: str = "video"
    private_hosts: bool = False
    log_format: Format = "text"

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that it resumes."""
        kept = ("kind", "analyzers", "sampling", "options", "segment_s", "decoder")
        return {key: value for key, value in json.loads(json.dumps(asdict(self))).items() if key in kept}


_ERRORS_TOLD = 20


@dataclass
class BatchResult:
    """What came of it. `results` are reports with their media's URI; `errors` name file, time and cause."""

    media: int = 0
    segments: int = 0
    resumed: int = 0
    frames: int = 0
    results: list[Outcome] = field(default_factory=list)
    errors: list[Outcome] = field(default_factory=list)
    _tried: set[str] = field(default_factory=set, repr=False)
    _damaged: set[str] = field(default_factory=set, repr=False)

    @property
    def status(self) -> str:
        """ "succeeded", "partial" (some media failed) or "failed" (all did)."""
        if not self.errors:
            return "succeeded"
        return "partial" if self.results else "failed"

    @property
    def tried(self) -> int:
        """How many media have been worked on so far."""
        return len(self._tried)

    def add(self, outcome: Outcome) -> None:
        """Count a segment (a report, or an error) or a bundle (a report with `pictures`, and `errors` of some)."""
        pictures = outcome.get("pictures")
        errors = outcome.get("errors", []) if pictures is not None else [outcome] if "error" in outcome else []
        self._tried |= {outcome["media_uri"]} if pictures is None else set(pictures)
        # A picture that cannot be read is found out in both lanes.
        self.errors += [e for e in errors if pictures is None or e["media_uri"] not in self._damaged]
        self._damaged |= {e["media_uri"] for e in errors}
        self.frames += outcome.get("frames", 0)
        if pictures is None and not errors:
            self.results.append(outcome)
        elif pictures is not None and len(errors) < len(pictures):
            report = {key: value for key, value in outcome.items() if key != "errors"}
            self.results.append(report | {"pictures": len(pictures) - len(errors)})

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

    def summary(self, output_uri: str) -> str:
        """One line of JSON, however large the job: how much was done, some errors, and where the whole report lies."""
        told = {
            "status": self.status,
            "media": self.media,
            "segments": self.segments,
            "resumed": self.resumed,
            "frames": self.frames,
            "done": len(self.results),
            "failed": len(self.errors),
            "errors": self.errors[:_ERRORS_TOLD],
            "report": f"{output_uri.rstrip('/')}/manifest.json",
        }
        return json.dumps(told)


class Task(Protocol):
    """What an actor is given: a segment, or a bundle of pictures."""

    @property
    def media_s(self) -> float:
        """How much work it is, as seconds of video."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        ...


@dataclass
class Plan:
    """All tasks by name (it ends with their lane), and the outcomes, by name, of what was done before.

    `result` counts the media, and holds the errors of those that nothing can be done with.
    """

    tasks: dict[str, Any]
    done: dict[str, Outcome]
    result: BatchResult

    def left(self, lane: str) -> dict[str, Any]:
        """The tasks of one lane that are still to be done."""
        return {name: task for name, task in self.tasks.items() if name.endswith(f"-{lane}") and name not in self.done}


def in_chunks(tasks: Mapping[str, Task], slots: int, most_s: float) -> Iterator[list[str]]:
    """The names of tasks that go to an actor together, in order: as much as `most_s` seconds of media, or one task.

    Giving each of many small files out for itself costs more than reading its header. Chunks become smaller towards the
    end, so that all `slots` (tasks that run at the same time, over all actors) end together: each is a slot's share of
    half of what is left (factoring: Hummel, Schonberg and Flynn 1992).
    """
    left_s = sum(task.media_s for task in tasks.values())
    chunk: list[str] = []
    chunk_s = 0.0
    for name, task in tasks.items():
        if chunk and chunk_s + task.media_s > min(most_s, left_s / (2 * slots)):
            yield chunk
            left_s -= chunk_s
            chunk, chunk_s = [], 0.0
        chunk.append(name)
        chunk_s += task.media_s
    if chunk:
        yield chunk


class Kind(Protocol):
    """What differs between jobs on videos, sound and pictures."""

    unit: str  # what tasks are called in messages

    def at_once(self, job: BatchJob, lane: str, cores: int) -> int:
        """How many tasks share the models of an actor on a machine of so many cores."""
        ...

    def plan(self, job: BatchJob, finished: Mapping[str, Outcome]) -> Plan:
        """What is to be done; `finished` are the outcomes that an earlier run has left. Raises MediaError."""
        ...

    def perform(
        self, analyzer: SegmentAnalyzer, name: str, task: Mapping[str, Any], on_last_frame: Callable[[], None]
    ) -> Outcome:
        """Run a task, given as a dict, on a worker. Media that cannot be read are errors in the outcome.

        `on_last_frame`: see SegmentAnalyzer.run. It may never be called.
        """
        ...

    def whole_of(self, name: str) -> str:
        """What a task belongs to, by its name: a media item, or a bundle of pictures."""
        ...

    def write_whole(self, job: BatchJob, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        """Write insights and a manifest of something of which all tasks have succeeded, with these outcomes."""
        ...
