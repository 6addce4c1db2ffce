"""One media item's results as a whole: the insights as JSON, and last of all a manifest with checksums.

OUTPUT/
├── labels/part-00000.parquet ...    one part per segment and analyzer
├── insights.json                    the same, by insight, with time ranges
└── manifest.json                    what there is, and that it is all; written last
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import file_name
from pipelines.insights import Row, to_insights
from pipelines.sinks import list_parts, read_file, write_file

MANIFEST = "manifest.json"
INSIGHTS = "insights.json"
_FORMAT = "aima-results-1"


def write_results(output_uri: str, media_uri: str, duration_s: float, analyzers: Sequence[str]) -> dict[str, Any]:
    """Write the insights and then the manifest, from the parts that are there. Returns the manifest.

    Doing it again writes the same bytes. A presigned URL's query, which is a secret, is left out of both.
    """
    root, name = output_uri.rstrip("/"), file_name(media_uri)
    described, records = _read(root, analyzers)
    insights = to_insights(name, duration_s, records)
    return _write(root, {"media": name, "duration_s": duration_s}, described, insights)


def write_picture_results(output_uri: str, analyzers: Sequence[str]) -> dict[str, Any]:
    """The same for a bundle of pictures: "pictures" lists the insights of each of which there is a record."""
    root = output_uri.rstrip("/")
    described, records = _read(root, analyzers)
    media = dict.fromkeys(row["media"] for rows in records.values() for row in rows)
    by_picture: dict[str, dict[str, list[Row]]] = {uri: {name: [] for name in records} for uri in media}
    for name, rows in records.items():
        for row in rows:
            by_picture[row["media"]][name].append({key: value for key, value in row.items() if key != "media"})
    insights = [to_insights(uri, 0.0, found) for uri, found in by_picture.items()]
    return _write(root, {"pictures": len(media)}, described, {"pictures": insights})


def _read(root: str, analyzers: Sequence[str]) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    described, records = {}, {}
    for analyzer in analyzers:
        described[analyzer], tables = _described(root, analyzer)
        records[analyzer] = [row for table in tables for row in table.to_pylist()]
    return described, records


def _write(root: str, what: Mapping[str, Any], described: Mapping[str, Any], insights: Any) -> dict[str, Any]:
    data = _json(insights)
    write_file(data, root, INSIGHTS)
    manifest = {"format": _FORMAT, **what, "analyzers": described, "files": [_entry(INSIGHTS, data)]}
    write_file(_json(manifest), root, MANIFEST)
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


def _described(root: str, analyzer: str) -> tuple[dict[str, Any], list[pa.Table]]:
    parts, tables = [], []
    metadata: dict[str, str] = {}
    for name in list_parts(f"{root}/{analyzer}"):
        data = read_file(root, f"{analyzer}/{name}")
        table = pq.read_table(pa.BufferReader(data))
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        parts.append(_entry(f"{analyzer}/{name}", data) | {"rows": table.num_rows})
        tables.append(table)
    units = {key.removeprefix("unit:"): value for key, value in metadata.items() if key.startswith("unit:")}
    return {
        "version": metadata.get("version"),
        "options": json.loads(metadata.get("options", "{}")),
        "units": units,
        "rows": sum(part["rows"] for part in parts),
        "parts": parts,
    }, tables


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
