"""A decoder that crashes or hangs ends its own process; whoever asked gets an error or, after one crash, the frames."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("av")

from pipelines.errors import MediaError
from pipelines.media.decoders.audio import read_samples
from pipelines.media.decoders.contract import FrameRequest
from pipelines.media.decoders.process import SharedPixels
from pipelines.media.decoders.pyav import PyAvDecoder
from pipelines.media.frames import FrameBatch
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import EveryFrame, FramesPerSecond, Segment
from pipelines.media.sources import probe
from tests.support.processes import children_with
from tests.support.samples import media
from tests.waiting import wait_until

REQUESTS = [FrameRequest(Segment(0, 0.0, 2.4, last=True), EveryFrame(), (48, 80))]


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(media.build("h264-mp4", tmp_path).path)


def decoding_processes() -> list[psutil.Process]:
    """The living processes that this test's decoding runs in, the newest last."""
    return children_with("pipelines.media.decoders.process")


def decoding_process() -> int:
    return int(decoding_processes()[-1].pid)


def crashed(batches: Iterator[tuple[int, FrameBatch]], seen: list[int]) -> None:
    """Read, and crash the decoder whenever it gave something."""
    for _, batch in batches:
        seen += batch.indices.tolist()
        for process in decoding_processes():
            process.send_signal(signal.SIGSEGV)


def numbers(batches: Iterator[tuple[int, FrameBatch]]) -> list[int]:
    return [media.read_pattern(pixels) for _, batch in batches for pixels in batch.pixels]


def test_the_frames_are_those_of_the_decoder(clip: str) -> None:
    requests = [*REQUESTS, FrameRequest(Segment(1, 1.0, 2.0), FramesPerSecond(5), (32, 32))]
    isolated = list(DecodeProcesses().read("pyav", clip, requests, 7))
    here = list(PyAvDecoder().read(clip, requests, 7))
    assert [number for number, _ in isolated] == [number for number, _ in here]
    for (_, theirs), (_, ours) in zip(isolated, here, strict=True):
        assert np.array_equal(theirs.pixels, ours.pixels)
        assert theirs.times_s.tolist() == ours.times_s.tolist()
        assert theirs.indices.tolist() == ours.indices.tolist()


def test_sound_is_that_of_the_decoder(tmp_path: Path) -> None:
    path = str(media.audio_only(tmp_path))
    processes = DecodeProcesses()
    theirs, damage = processes.sound(path, 0.2, 0.7)
    ours, _ = read_samples(path, 0.2, 0.7)
    assert (theirs.start_s, damage) == (ours.start_s, None)
    assert np.array_equal(theirs.values, ours.values)
    with pytest.raises(MediaError, match=r"silence\.wav: no sound can be decoded"):
        processes.sound(path, 5.0, 6.0)
    os.kill(decoding_process(), signal.SIGSTOP)
    with pytest.raises(MediaError, match=r"silence\.wav: could not be read within 1 s"):
        _hurried(processes).sound(path, 0.0, 1.0)


def test_a_picture_that_crashes_or_hangs_its_decoder_is_an_error(tmp_path: Path) -> None:
    good, stuck = tmp_path / "good.png", tmp_path / "stuck.png"
    Image.new("RGB", (40, 30), (9, 8, 7)).save(good)
    os.mkfifo(stuck)  # reading it waits for ever
    processes = DecodeProcesses()
    shapes = [(30, 40), (15, 20), (30, 40)]
    found = processes.picture(str(good), lambda height, width: [(height, width), (height // 2, width // 2), shapes[2]])
    assert [pixels.shape[:2] for pixels in found] == shapes
    assert found[0][0, 0].tolist() == [9, 8, 7]
    first = decoding_process()
    with pytest.raises(MediaError, match=r"stuck\.png: could not be read within 1 s"):
        _hurried(processes).picture(str(stuck), lambda height, width: [])
    assert not psutil.pid_exists(first)
    others = {process.pid for process in decoding_processes()}  # of other tests, perhaps
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(DecodeProcesses().picture, str(stuck), lambda height, width: [])
        (reading,) = wait_until("it is being read", lambda: [p for p in decoding_processes() if p.pid not in others])
        reading.send_signal(signal.SIGSEGV)
        with pytest.raises(MediaError, match=r"stuck\.png: the decoder crashed \(SIGSEGV\)"):
            waiting.result(30)
    processes._stall_limit_s = 60.0  # it starts a process first
    assert len(processes.picture(str(good), lambda height, width: [(8, 8)])) == 1


def _hurried(processes: DecodeProcesses) -> DecodeProcesses:
    processes._stall_limit_s = 1.0
    return processes


def test_a_process_serves_file_after_file(clip: str, tmp_path: Path) -> None:
    processes = DecodeProcesses()
    assert processes.probe(clip) == probe(clip)
    first = decoding_process()
    with pytest.raises(MediaError, match=r"empty\.mp4: the file is empty"):
        processes.probe(str(media.empty(tmp_path)))
    with pytest.raises(MediaError, match=r"cut_off\.mp4: .*at 1\."):
        list(processes.read("pyav", str(media.cut_off(tmp_path)), REQUESTS, 8))
    assert numbers(processes.read("pyav", clip, REQUESTS, 8)) == list(range(60))
    assert decoding_process() == first


def test_after_one_crash_the_frames_go_on_where_they_were(clip: str) -> None:
    batches = DecodeProcesses().read("pyav", clip, REQUESTS, 1)
    head = [next(batches) for _ in range(10)]
    os.kill(decoding_process(), signal.SIGSEGV)
    assert numbers(iter(head)) + numbers(batches) == list(range(60))


def test_a_file_that_crashes_its_decoder_is_an_error_that_says_where(clip: str) -> None:
    processes, seen = DecodeProcesses(), list[int]()
    with pytest.raises(MediaError, match=r"a\.mp4: the decoder crashed \(SIGSEGV\)") as caught:
        crashed(processes.read("pyav", clip, REQUESTS, 1), seen)
    assert 2 <= len(seen) < 20
    assert seen == list(range(len(seen)))
    assert caught.value.time_s == pytest.approx(seen[-1] / 25, abs=0.001)
    assert numbers(processes.read("pyav", clip, REQUESTS, 16)) == list(range(60))


def test_a_decoder_that_hangs_is_ended(clip: str) -> None:
    processes = DecodeProcesses(stall_limit_s=1.0)
    processes.warm_up(1)
    stopped = decoding_process()
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(MediaError, match=r"a\.mp4: the decoder hung for 1 s \(at 0\.000 s\)"):
        list(processes.read("pyav", clip, REQUESTS, 8))
    assert not psutil.pid_exists(stopped)


def test_an_abandoned_reading_leaves_no_process(clip: str) -> None:
    processes = DecodeProcesses()
    batches = processes.read("pyav", clip, REQUESTS, 1)
    next(batches)
    child = decoding_process()
    batches.close()  # type: ignore[attr-defined]
    assert not psutil.pid_exists(child)
    processes.warm_up(2)
    children = {decoding_process()}
    del processes, batches
    assert not any(psutil.pid_exists(pid) for pid in children)


def test_the_process_gets_no_secrets(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    processes = DecodeProcesses()
    processes.warm_up(1)
    assert "RUNPOD_API_KEY" not in psutil.Process(decoding_process()).environ()


def test_shared_memory_cannot_shrink_under_its_reader() -> None:
    pixels = SharedPixels()
    handle = pixels.take_handle(pixels.new((2, 3, 4, 3))[:1])
    with pytest.raises(PermissionError):
        os.ftruncate(handle, 0)
    os.close(handle)


def test_a_process_that_nobody_uses_ends_and_the_next_file_gets_a_new_one(clip: str) -> None:
    processes = DecodeProcesses(idle_limit_s=0.05)
    assert processes.probe(clip) == probe(clip)
    first = decoding_process()
    wait_until("the idle process has ended", lambda: not psutil.pid_exists(first), 10, 0.01)
    assert processes.probe(clip) == probe(clip)


@pytest.mark.parametrize("credentials", [True, False])
def test_a_decoding_process_gets_no_secrets(clip: str, credentials: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    processes = DecodeProcesses(credentials=credentials)
    processes.probe(clip)
    seen = psutil.Process(decoding_process()).environ()
    assert "RUNPOD_API_KEY" not in seen
    assert ("AWS_SECRET_ACCESS_KEY" in seen) is credentials
    assert seen["PATH"] == os.environ["PATH"]
