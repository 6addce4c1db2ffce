"""What lies beside the parts of a media item once all of it is done: insights.json, and last of all manifest.json.

The same files as batch jobs leave (pipelines/records/results.py). Which analyses have theirs is in the database:
after a crash, or while the storage is away, nothing is forgotten, and what is written twice is the same.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Engine, select, update

from pipelines.errors import file_name
from pipelines.records.results import write_results_to
from serve_apps.analyses import FINISHED, SegmentState
from serve_apps.api.context import Service
from serve_apps.results.objects import Objects
from serve_apps.results.worker_access import output_uri
from serve_apps.store.analysis_store import Analysis, as_analysis
from serve_apps.store.tables import analyses, reading, segments, writing

_log = logging.getLogger(__name__)
_AT_ONCE = 4
_s, _a = segments.c, analyses.c


@dataclass(frozen=True)
class ObjectsFolder:
    """A media item's results in the service's storage. `names` are the parts of each analyzer."""

    objects: Objects
    uri: str
    names: Mapping[str, Sequence[str]]

    def parts(self, analyzer: str) -> Sequence[str]:
        """See Folder."""
        return self.names.get(analyzer, ())

    def read(self, path: str) -> bytes:
        """See Folder."""
        return self.objects.read(f"{self.uri}/{path}")

    def write(self, name: str, data: bytes) -> None:
        """See Folder."""
        self.objects.write(f"{self.uri}/{name}", data)


def summarise_some(service: Service) -> int:
    """Do it for a few finished analyses, those that ended first; returns how many. Reads and writes the storage."""
    finished = _a.state.in_([state.value for state in FINISHED])
    waiting = select(analyses).where(_a.summarised.is_(False), finished).order_by(_a.finished_at).limit(_AT_ONCE)
    with reading(service.store.engine) as connection:
        found = [as_analysis(row) for row in connection.execute(waiting)]
    for analysis in found:
        summarise(service, analysis)
    return len(found)


def summarise(service: Service, analysis: Analysis) -> None:
    """Write the files of every media item of which nothing is missing; of others there are none."""
    for index, rows in _whole(service.store.engine, analysis.id).items():
        names: dict[str, list[str]] = {}
        for row in rows:
            for analyzer, uri in (row.parts or {}).items():
                names.setdefault(analyzer, []).append(PurePosixPath(uri).name)
        folder = ObjectsFolder(service.objects, output_uri(service.objects.base_uri, analysis.id, index), names)
        duration_s = max(row.end_s for row in rows)
        try:
            write_results_to(folder, _name(service, analysis.media[index]), duration_s, analysis.analyzers)
        except FileNotFoundError:  # it is being erased
            _log.info("%s, media %d: parts are gone", analysis.id, index)
        except (KeyError, TypeError, ValueError):  # trying again would not help
            _log.exception("%s, media %d: its records are not what its analyzers write", analysis.id, index)
    same = (_a.id == analysis.id, _a.finished_at == analysis.finished_at)  # it may have been tried again meanwhile
    with writing(service.store.engine) as connection:
        connection.execute(update(analyses).where(*same).values(summarised=True))


def read_summary(service: Service, analysis: Analysis, index: int, name: str) -> bytes:
    """One of the files; written now, if its turn has not come. Raises FileNotFoundError for what is not whole."""
    if analysis.state in FINISHED and not analysis.summarised:
        summarise(service, analysis)
    return service.objects.read(f"{output_uri(service.objects.base_uri, analysis.id, index)}/{name}")


def _whole(engine: Engine, analysis_id: str) -> dict[int, list[Any]]:
    """The segments, in order, of each media item all of whose segments are done."""
    chosen = select(_s.media_index, _s.state, _s.parts, _s.end_s).where(_s.analysis_id == analysis_id)
    by_media: dict[int, list[Any]] = {}
    with reading(engine) as connection:
        for row in connection.execute(chosen.order_by(_s.media_index, _s.segment_index, _s.lane)):
            by_media.setdefault(row.media_index, []).append(row)
    return {n: rows for n, rows in by_media.items() if all(row.state == SegmentState.DONE.value for row in rows)}


def _name(service: Service, uri: str) -> str:
    """What its user calls it."""
    upload = service.uploads.by_uri(uri)
    return file_name(uri) if upload is None else upload.name
