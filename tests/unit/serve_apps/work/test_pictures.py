"""Pictures on their way: known by their first bytes, analysed as one frame, by the real model."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import plan_segments
from pipelines.segments.task import SegmentTask
from serve_apps.models.segments import SegmentModel


@pytest.fixture(scope="module")
def headers() -> DecodeProcesses:
    """What reads headers: each is opened in a process of its own."""
    return DecodeProcesses(credentials=False)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_picture_is_analysed_as_one_frame(form: str, tmp_path: Path, headers: DecodeProcesses) -> None:
    picture = tmp_path / "called.mp4"
    Image.fromarray(np.full((48, 64, 3), 255, np.uint8)).save(picture, form)
    info = headers.probe(str(picture))
    assert (info.kind, info.codec) == ("picture", form.lower())
    (segment,) = plan_segments(info.duration_s)
    task = SegmentTask(str(picture), segment, info, ("brightness", "scenes", "speech"), str(tmp_path / "out"))

    async def run() -> list[dict[str, Any]]:
        return [step async for step in SegmentModel().analyze(task.to_dict())]

    first, last = asyncio.run(run())
    assert first.keys() == {"instance"}
    report = last["report"]
    assert (report["frames"], report["decoder"]) == (1, "pillow")
    assert report["warnings"] == [f"{name}: nothing to be found in a picture" for name in ("scenes", "speech")]
    table = pq.read_table(report["parts"]["brightness"])
    assert table["time_s"].to_pylist() == [0.0]
    assert table["mean"].to_pylist() == [pytest.approx(255, abs=1)]
    assert table.schema.metadata[b"media"] == b"called.mp4"
    assert [pq.read_table(report["parts"][name]).num_rows for name in ("scenes", "speech")] == [0, 0]


def test_a_damaged_picture_is_an_error_of_the_file(tmp_path: Path, headers: DecodeProcesses) -> None:
    picture = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(picture)
    picture.write_bytes(picture.read_bytes()[:2000])
    info = headers.probe(str(picture))
    task = SegmentTask(str(picture), plan_segments(0.04)[0], info, ("brightness",), str(tmp_path / "out"))

    async def run() -> None:
        async for _ in SegmentModel().analyze(task.to_dict()):
            pass

    with pytest.raises(MediaError, match=r"cut\.png: damaged picture"):
        asyncio.run(run())


def test_a_format_that_is_not_read_fails_before_a_machine_is_bought(tmp_path: Path, headers: DecodeProcesses) -> None:
    picture = tmp_path / "phone.jpg"
    picture.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(16))
    with pytest.raises(
        MediaError, match=r"phone\.jpg: HEIC pictures are not read; JPEG, PNG, WEBP, GIF, BMP, TIFF are"
    ):
        headers.probe(str(picture))


def test_what_is_no_picture_is_probed_as_a_video(tmp_path: Path, headers: DecodeProcesses) -> None:
    clip = tmp_path / "picture.png"
    clip.write_bytes(b"\x00\x00\x00\x18ftypisom")
    for uri in (str(clip), str(tmp_path / "missing.png")):
        with pytest.raises(MediaError, match=r"ends before its first frame|not a media file|no such file"):
            headers.probe(uri)
