"""Pictures on their way: known by their first bytes, analysed as one frame, by the real model."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.sampling import plan_segments
from pipelines.sources import MediaInfo
from pipelines.video import SegmentTask
from serve_apps.models.segments import SegmentModel
from serve_apps.probing import is_picture, probe_media


def no_video(uri: str) -> MediaInfo:
    raise MediaError(uri, "asked for a video")


def test_a_picture_is_analysed_as_one_frame(tmp_path: Path) -> None:
    picture = tmp_path / "called.mp4"
    Image.fromarray(np.full((48, 64, 3), 255, np.uint8)).save(picture, "PNG")
    info = probe_media(str(picture), no_video)
    assert is_picture(info)
    (segment,) = plan_segments(info.duration_s)
    task = SegmentTask(str(picture), segment, info, ("brightness", "speech"), str(tmp_path / "out"))

    async def run() -> list[dict[str, Any]]:
        return [step async for step in SegmentModel().analyze(task.to_dict())]

    first, last = asyncio.run(run())
    assert "first_frame_at" in first
    assert last["report"]["frames"] == 1
    table = pq.read_table(last["report"]["parts"]["brightness"])
    assert table["time_s"].to_pylist() == [0.0]
    assert pq.read_table(last["report"]["parts"]["speech"]).num_rows == 0


def test_what_is_no_picture_is_probed_as_a_video(tmp_path: Path) -> None:
    clip = tmp_path / "picture.png"
    clip.write_bytes(b"\x00\x00\x00\x18ftypisom")
    for uri in (str(clip), str(tmp_path / "missing.png"), "s3://bucket/a.png"):
        with pytest.raises(MediaError, match="asked for a video"):
            probe_media(uri, no_video)
