"""How workers, who hold no credentials, get at media and leave their results."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.records.sinks import PART_TYPE
from serve_apps.results.objects import Objects


class ResultsElsewhere(OSError):
    """A worker has written its results where we cannot read them: another try would be paid for, and lost, the same."""

    def __str__(self) -> str:
        return "the worker's results have not come here: it has another disk; set storage_uri to s3://bucket/prefix"


@dataclass(frozen=True)
class WorkerAccess:
    """What the dispatcher hands out. By default workers share this machine's disk.

    `readable` turns a media URI into what a worker or the prober can open; `writable` a part's URI into where a worker
    may PUT it, None where it writes to the URI itself; `has_come` says whether a part that was reported is there.
    """

    readable: Callable[[str], str] = str
    writable: Callable[[str], str | None] = lambda _uri: None
    has_come: Callable[[str], bool] = lambda _uri: True


def access_to(objects: Objects, readable: Callable[[str], str] | None = None) -> WorkerAccess:
    """Access to one storage; media may be made readable in another way."""
    return WorkerAccess(
        readable=readable or objects.readable,
        writable=lambda uri: objects.writable(uri, PART_TYPE),
        has_come=objects.has_come,
    )


def output_uri(storage_uri: str, analysis_id: str, media_index: int) -> str:
    """Where the parts of one media item of an analysis lie; one folder an analyzer below it."""
    return f"{storage_uri.rstrip('/')}/analyses/{analysis_id}/{media_index:04d}"
