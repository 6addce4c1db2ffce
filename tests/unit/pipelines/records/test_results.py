"""Results as a whole: a manifest that is written last and notices changes; tables that strangers can read."""

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipelines.analyzers.records import frame_columns
from pipelines.records.insights import InsightRule
from pipelines.records.results import read_manifest, verify, write_results
from pipelines.records.sinks import write_part

LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
SCHEMA = pa.schema(
    [*frame_columns(), ("labels", LABELS)],
    metadata={
        "analyzer": "labels",
        "version": "1:x",
        "unit:time_s": "seconds from the first frame",
        "insight": InsightRule("label", "sightings", name="label", score="score", items="labels").to_json(),
    },
)
URI = "https://host/videos/clip.mp4?signature=secret"


@pytest.fixture
def output(tmp_path: Path) -> str:
    for segment in range(2):
        rows = [
            {"segment": segment, "frame_index": i, "time_s": float(i), "labels": [{"label": "cat", "score": 0.5}]}
            for i in (2 * segment, 2 * segment + 1)
        ]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        write_part(table, f"{tmp_path}/labels", segment, {"options": '{"fps": 1}', "task": str(segment)})
    return str(tmp_path)


def test_a_manifest_says_what_there_is(output: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_manifest(output)
    manifest = write_results(output, URI, 4.0, ["labels", "scenes"])
    assert read_manifest(output) == manifest
    labels = manifest["analyzers"]["labels"]
    assert (labels["version"], labels["options"], labels["rows"]) == ("1:x", {"fps": 1}, 4)
    assert labels["units"] == {"time_s": "seconds from the first frame"}
    assert [part["path"] for part in labels["parts"]] == ["labels/part-00000.parquet", "labels/part-00001.parquet"]
    assert manifest["analyzers"]["scenes"]["parts"] == []
    assert manifest["media"] == "clip.mp4"
    assert "secret" not in Path(output, "manifest.json").read_text() + Path(output, "insights.json").read_text()


def test_results_written_again_are_the_same(output: str) -> None:
    write_results(output, URI, 4.0, ["labels"])
    before = {path.name: path.read_bytes() for path in Path(output).glob("*.json")}
    write_results(output, URI, 4.0, ["labels"])
    assert {path.name: path.read_bytes() for path in Path(output).glob("*.json")} == before
    assert set(before) == {"manifest.json", "insights.json"}


def test_changes_and_losses_are_noticed(output: str) -> None:
    write_results(output, URI, 4.0, ["labels"])
    assert verify(output) == []
    Path(output, "labels", "part-00000.parquet").unlink()
    Path(output, "insights.json").write_text("{}")
    assert verify(output) == [
        f"insights.json has changed: 2 bytes, {read_manifest(output)['files'][0]['bytes']} were written",
        "labels/part-00000.parquet is missing",
    ]


def test_insights_have_their_ranges(output: str) -> None:
    write_results(output, URI, 4.0, ["labels"])
    (insight,) = json.loads(Path(output, "insights.json").read_text())["insights"]
    assert insight == {
        "analyzer": "labels",
        "kind": "label",
        "name": "cat",
        "score": 0.5,
        "ranges": [{"start_s": 0.0, "end_s": 4.0}],
    }


def test_strangers_read_the_parts(output: str) -> None:
    query = f"""
        select label.label, count(*), max(time_s)
        from (select time_s, unnest(labels) as label from '{output}/labels/*.parquet') group by 1
    """
    assert duckdb.execute(query).fetchall() == [("cat", 4, 3.0)]
    assert duckdb.execute(
        f"select distinct compression from parquet_metadata('{output}/labels/*.parquet')"
    ).fetchall() == [("ZSTD",)]
    assert ds.dataset(f"{output}/labels").count_rows() == 4
