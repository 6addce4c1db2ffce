"""Results as JSON: the same document in pages, written while it is read, in bounded memory."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.storage.object_storage import open_storage
from pipelines.records.sinks import write_part
from serve_apps.api.schemas import Results
from serve_apps.results.json_pages import Item, Page, json_results
from serve_apps.store.analysis_store import Part

TOLD: dict[str, Any] = {"id": "an_0123456789abcdef", "state": "running", "error": None, "parts": []}


def written(folder: Path, media: int, parts: int, records: int) -> list[Part]:
    made = []
    for index in range(media):
        for number in range(parts):
            times = [float(number * records + n) for n in range(records)]
            table = pa.table({"time_s": times, "text": [f"a line of some length, number {n}" for n in range(records)]})
            uri = write_part(table, f"{folder}/{index:04d}/labels", number)
            made.append(Part(index, number, "labels", uri))
    return made


@pytest.mark.parametrize(
    ("page", "times", "truncated"),
    [
        (Page(), list(range(12)), {}),
        (Page(0, 5), list(range(5)), {"labels": 12}),
        (Page(5, 5), list(range(5, 10)), {"labels": 12}),
        (Page(10, 5), [10, 11], {}),
        (Page(99, 5), [], {}),
    ],
)
def test_pages_make_up_the_whole(tmp_path: Path, page: Page, times: list[int], truncated: dict[str, int]) -> None:
    parts, items = written(tmp_path, 2, 3, 4), [Item("a.mp4", None), Item("b.mp4", "is damaged")]
    objects = open_storage(str(tmp_path))
    text = b"".join(json_results(objects, TOLD, items, ("labels", "scenes"), parts, page))
    found = Results.model_validate(json.loads(text))
    assert [(media.uri, media.error) for media in found.media] == [("a.mp4", None), ("b.mp4", "is damaged")]
    for media in found.media:
        assert [record["time_s"] for record in media.analyzers["labels"]] == times
        assert (media.analyzers["scenes"], media.truncated) == ([], truncated)


def test_thirty_media_with_five_thousand_records_each_take_little_memory(tmp_path: Path) -> None:
    parts, items = written(tmp_path, 30, 5, 1000), [Item(f"{n}.mp4", None) for n in range(30)]
    objects = open_storage(str(tmp_path))
    tracemalloc.start()
    try:
        size = sum(map(len, json_results(objects, TOLD, items, ("labels",), parts, Page())))
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 5_000_000
    assert most < 10 << 20
