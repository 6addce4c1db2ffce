"""One media item's results as a whole: the insights as JSON, and last of all a manifest with checksums.

OUTPUT/
├── labels/part-00000.parquet ...    one part per segment and analyzer
├── insights.json                    the same, by insight, with time ranges
└── manifest.json                    what there is, and that it is all; written last
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import file_name
from pipelines.records.insights import InsightRule, Row, to_insights
from pipelines.records.read_ahead import read_ahead
from pipelines.records.sinks import list_parts, read_file, write_file

MANIFEST = "manifest.json"
INSIGHTS = "insights.json"
_FORMAT = "aima-results-1"
_ROWS_TOGETHER = 1024


class Folder(Protocol):
    """Where one media item's results lie, whatever the storage."""

    def parts(self, analyzer: str) -> Sequence[str]:
        """The file names of an analyzer's parts, in the order of their segments."""
        ...

    def read(self, path: str) -> bytes:
        """A file below it. Raises FileNotFoundError."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole or not at all."""
        ...


@dataclass(frozen=True)
class UriFolder:
    """See Folder: a local path, or an object store's prefix."""

    uri: str

    def parts(self, analyzer: str) -> Sequence[str]:
        return list_parts(f"{self.uri}/{analyzer}")

    def read(self, path: str) -> bytes:
        return read_file(self.uri, path)

    def write(self, name: str, data: bytes) -> None:
        write_file(data, self.uri, name)


def write_results(output_uri: str, media_uri: str, duration_s: float, analyzers: Sequence[str]) -> dict[str, Any]:
    """Write the insights and then the manifest, from the parts that are there. Returns the manifest.

    Doing it again writes the same bytes. A presigned URL's query, which is a secret, is left out of both.
    """
    return write_results_to(UriFolder(output_uri.rstrip("/")), file_name(media_uri), duration_s, analyzers)


def write_results_to(folder: Folder, media: str, duration_s: float, analyzers: Sequence[str]) -> dict[str, Any]:
    """The same, to any folder; `media` is what the item is called. A few parts are in memory at a time."""
    described = {analyzer: _described(folder, analyzer) for analyzer in analyzers}
    insights = to_insights(media, duration_s, _records(folder, described), _rules(described))
    return _write(folder, {"media": media, "duration_s": duration_s}, described, insights)


def write_picture_results(output_uri: str, analyzers: Sequence[str]) -> dict[str, Any]:
    """The same for a bundle of pictures: "pictures" lists the insights of each of which there is a record."""
    folder = UriFolder(output_uri.rstrip("/"))
    described = {analyzer: _described(folder, analyzer) for analyzer in analyzers}
    by_picture: dict[str, dict[str, list[Row]]] = {}
    for analyzer, rows in _records(folder, described).items():
        for row in rows:
            found = by_picture.setdefault(row["media"], {name: [] for name in analyzers})
            found[analyzer].append({key: value for key, value in row.items() if key != "media"})
    rules = _rules(described)
    insights = [to_insights(uri, 0.0, found, rules) for uri, found in by_picture.items()]
    return _write(folder, {"pictures": len(insights)}, described, {"pictures": insights})


@dataclass(frozen=True)
class _Rows:
    """The records of parts, read anew whenever they are gone through."""

    folder: Folder
    paths: Sequence[str]

    def __iter__(self) -> Iterator[Row]:
        for data in read_ahead(self.folder.read, self.paths):
            table = pq.read_table(pa.BufferReader(data))
            for batch in table.to_batches(_ROWS_TOGETHER):
                yield from batch.to_pylist()


def _records(folder: Folder, described: Mapping[str, Any]) -> dict[str, Iterable[Row]]:
    return {name: _Rows(folder, [part["path"] for part in found["parts"]]) for name, found in described.items()}


def _rules(described: Mapping[str, Any]) -> dict[str, InsightRule | None]:
    found = {name: analyzer["insight"] for name, analyzer in described.items()}
    return {name: InsightRule.from_dict(rule) if rule else None for name, rule in found.items()}


def _write(folder: Folder, what: Mapping[str, Any], described: Mapping[str, Any], insights: Any) -> dict[str, Any]:
    data = _json(insights)
    folder.write(INSIGHTS, data)
    manifest = {"format": _FORMAT, **what, "analyzers": described, "files": [_entry(INSIGHTS, data)]}
    folder.write(MANIFEST, _json(manifest))
    return manifest


def read_manifest(output_uri: str) -> dict[str, Any]:
    """The manifest. Raises FileNotFoundError where the results are not, or not yet, whole."""
    manifest: dict[str, Any] = json.loads(read_file(output_uri, MANIFEST))
    return manifest


def verify(output_uri: str) -> list[str]:
    """What is missing or differs from the manifest, in words; nothing if all is well. Raises FileNotFoundError."""
    manifest = read_manifest(output_uri)
    entries = manifest["files"] + [part for found in manifest["analyzers"].values() for part in found["parts"]]
    problems = []
    for entry in entries:
        try:
            actual = _entry(entry["path"], read_file(output_uri, entry["path"]))
        except FileNotFoundError:
            problems.append(f"{entry['path']} is missing")
            continue
        if actual["sha256"] != entry["sha256"]:
            problems.append(f"{entry['path']} has changed: {actual['bytes']} bytes, {entry['bytes']} were written")
    return problems


def _described(folder: Folder, analyzer: str) -> dict[str, Any]:
    parts = []
    metadata: dict[str, str] = {}
    paths = [f"{analyzer}/{name}" for name in folder.parts(analyzer)]
    for path, data in zip(paths, read_ahead(folder.read, paths), strict=True):
        file = pq.ParquetFile(pa.BufferReader(data))
        metadata = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
        parts.append(_entry(path, data) | {"rows": file.metadata.num_rows})
    units = {key.removeprefix("unit:"): value for key, value in metadata.items() if key.startswith("unit:")}
    return {
        "version": metadata.get("version"),
        "options": json.loads(metadata.get("options", "{}")),
        "insight": json.loads(metadata.get("insight", "null")),
        "units": units,
        "rows": sum(part["rows"] for part in parts),
        "parts": parts,
    }


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
