"""What a batch job leaves beside its parts, so that another run can go on where it was killed.

{output}/job.json                    what was asked for: a resumed run must ask for the same
{output}/media/KEY/                  its parts, and when all are there its insights.json and manifest.json
{output}/segments/KEY-00000-gpu.json one segment's report or error, written after its parts
{output}/errors/KEY.json             one file's errors, by segment
{output}/manifest.json               everything, written last: it exists when the job is finished
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs

from pipelines.batch.progress import told
from pipelines.errors import MediaError, MediaUnavailable, file_name, without_query
from pipelines.files import filesystem_of, write_atomically
from pipelines.records.read_ahead import read_ahead

_READ_AHEAD = 32  # they are small


class OtherJob(ValueError):
    """The output holds another job's results."""


def media_key(uri: str) -> str:
    """A file name of its own for each media item, the same in every run: a presigned URL's query does not count."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file_name(uri))[-80:]
    return f"{name}-{hashlib.sha256(without_query(uri).encode()).hexdigest()[:10]}"


def for_now(error: MediaError) -> dict[str, bool]:
    """What an error's outcome says where the media may be had later: a resumed job tries again."""
    return {"unavailable": True} if isinstance(error, MediaUnavailable) else {}


def _is_for_now(outcome: Mapping[str, Any]) -> bool:
    return any(error.get("unavailable") for error in (outcome, *outcome.get("errors", ())))


class Outcomes:
    """The files of one job, in a local folder or an object store."""

    def __init__(self, output_uri: str) -> None:
        self._files, self._root = filesystem_of(output_uri)

    def begin(self, job: Mapping[str, Any], resume: bool) -> dict[str, dict[str, Any]]:
        """The outcomes of segments that need not run again, by name: none unless `resume`. Raises OtherJob."""
        before = self._read("job.json")
        if resume and before is not None and before != job:
            differing = ", ".join(key for key in job if before.get(key) != job[key])
            raise OtherJob(f"--resume: the output holds a job with another {differing}; name another --output")
        if not resume:
            for folder in ("segments", "errors"):
                self._files.delete_dir_contents(f"{self._root}/{folder}", missing_dir_ok=True)
        self._delete("manifest.json")
        self._write("job.json", job)
        return self._finished() if resume else {}

    def add(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Keep a segment's outcome: from here on it is finished."""
        self._write(f"segments/{name}.json", outcome)

    def add_errors(self, key: str, errors: list[dict[str, Any]]) -> None:
        """Write all errors of one media item."""
        self._write(f"errors/{key}.json", errors)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest."""
        self._write("manifest.json", manifest)

    def _finished(self) -> dict[str, dict[str, Any]]:
        selector = fs.FileSelector(f"{self._root}/segments", allow_not_found=True)
        listed = (info.base_name for info in self._files.get_file_info(selector))
        names = sorted(name.removesuffix(".json") for name in listed if name.endswith(".json"))
        outcomes = read_ahead(lambda name: self._load(f"segments/{name}.json"), names, _READ_AHEAD)
        found = zip(names, told(outcomes, len(names), "outcomes of before read"), strict=True)
        return {name: outcome for name, outcome in found if not _is_for_now(outcome)}

    def _read(self, name: str) -> Any:
        if self._files.get_file_info(f"{self._root}/{name}").type != fs.FileType.File:
            return None
        return self._load(name)

    def _load(self, name: str) -> Any:
        with self._files.open_input_stream(f"{self._root}/{name}") as stream:
            return json.loads(stream.read())

    def _write(self, name: str, value: Any) -> None:
        data = json.dumps(value, indent=1, sort_keys=True).encode()
        path = f"{self._root}/{name}"
        if not isinstance(self._files, fs.LocalFileSystem):
            with self._files.open_output_stream(path) as stream:  # an object appears when its upload completes
                stream.write(data)
            return
        write_atomically(Path(path), [data])

    def _delete(self, name: str) -> None:
        path = f"{self._root}/{name}"
        if self._files.get_file_info(path).type == fs.FileType.File:
            self._files.delete_file(path)
