"""Every damaged or strange file gives frames, or an error that names file, cause and, where it is known, time."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from pipelines.errors import MediaError
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import EveryFrame, Keyframes, Segment
from tests.support.samples.corpus import CORPUS


@pytest.fixture(scope="module")
def processes() -> DecodeProcesses:
    return DecodeProcesses(stall_limit_s=60)


def decoded(processes: DecodeProcesses, path: str, sampling: EveryFrame | Keyframes) -> tuple[int, MediaError | None]:
    """How many frames came, and the error that ended them."""
    frames = 0
    try:
        info = processes.probe(path)
        assert info.duration_s > 0
        assert min(info.width, info.height) > 0 or info.kind == "audio"
        whole = Segment(0, 0.0, info.duration_s, last=True)
        times = [-1.0]
        for _, batch in processes.read("pyav", path, [FrameRequest(whole, sampling, (48, 80))], 16):
            assert batch.pixels.shape[1:] == (48, 80, 3)
            times += batch.times_s.tolist()
            frames += len(batch)
        assert np.all(np.diff(times) > 0)
    except MediaError as error:
        return frames, error
    return frames, None


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 40


@pytest.mark.parametrize("name", CORPUS)
def test_frames_or_an_error_that_says_why(name: str, processes: DecodeProcesses, tmp_path: Path) -> None:
    path, expected = CORPUS[name](tmp_path)
    frames, error = decoded(processes, str(path), EveryFrame())
    if isinstance(expected, str):
        assert re.search(f"^{re.escape(path.name)}: .*({expected})", str(error)), (frames, error)
    elif expected:
        assert (frames >= expected, error) == (True, None)
    assert frames or (error and (error.uri, bool(error.cause)) == (str(path), True))
    keyframes, _ = decoded(processes, str(path), Keyframes())
    assert keyframes <= frames or error
