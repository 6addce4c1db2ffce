"""Hardware decoding: where it is chosen, what it must prove, and that its failures lose nothing."""

import gc
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("av")

from cluster.local.processes import words
from pipelines.batch.command_line import parse
from pipelines.errors import MediaError
from pipelines.media.decoders.contract import FrameRequest, choose_decoder
from pipelines.media.decoders.nvdec import GpuDecoder, NvdecDecoder, nvdec_objection, prove
from pipelines.media.decoders.packets import PacketReader
from pipelines.media.decoders.process import MEMORY_LIMIT_BYTES
from pipelines.media.decoders.pyav import PyAvDecoder
from pipelines.media.frames import FrameBatch
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import EveryFrame, FramesPerSecond, Sampling, Segment
from pipelines.media.sources import MediaInfo, probe
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentTask
from tests.support.processes import children_with
from tests.support.samples import gpu, media
from tests.waiting import wait_until

REQUESTS = [
    FrameRequest(Segment(0, 0.0, 2.4, last=True), EveryFrame(), (48, 80)),
    FrameRequest(Segment(1, 1.0, 2.0), FramesPerSecond(5), (32, 32)),
]
SAMPLES = [FramesPerSecond(2)]
Batches = list[tuple[int, FrameBatch]]


def info(codec: str = "h264", width: int = 1920, height: int = 1080, container: str = "mov,mp4") -> MediaInfo:
    return MediaInfo("/a.mp4", container, codec, width, height, 0, 60.0, 25.0, has_audio=False)


@pytest.mark.parametrize(
    ("file", "samplings", "chosen", "why"),
    [
        (info(), [EveryFrame()], "nvdec", "h264 of 1920x1080: this machine's NVDEC has proved itself"),
        (info("hevc", 3840, 2160), SAMPLES, "nvdec", "proved itself"),
        (info("vp9", container="matroska,webm"), [*SAMPLES, EveryFrame()], "nvdec", "proved itself"),
        (info(width=1280, height=720), [EveryFrame()], "nvdec", "proved itself"),
        (info(width=1280, height=720), SAMPLES, "pyav", "decodes least; not NVDEC: too small to pay"),
        (info(width=320, height=240), [EveryFrame()], "pyav", "not NVDEC: too small to pay"),
        (info("libdav1d"), [EveryFrame()], "pyav", "not NVDEC: it takes no libdav1d"),
        (info("mjpeg"), [EveryFrame()], "pyav", "not NVDEC: it takes no mjpeg"),
        (info(container="mpegts"), [EveryFrame()], "pyav", "mpegts does not tell which frames must come out"),
    ],
)
def test_the_choice(file: MediaInfo, samplings: Sequence[Sampling], chosen: str, why: str) -> None:
    name, reason = choose_decoder(file, samplings, nvdec_objection=lambda: "")
    assert name == chosen
    assert why in reason


def test_a_gpu_that_has_not_proved_itself_or_may_not_be_used_is_not_chosen() -> None:
    name, reason = choose_decoder(info(), [EveryFrame()], nvdec_objection=lambda: "no driver")
    assert (name, reason.endswith("; not NVDEC: no driver")) == ("pyav", True)
    assert "NVDEC" not in choose_decoder(info(), [EveryFrame()])[1]
    assert choose_decoder(info(), [EveryFrame()], "pyav", lambda: "") == ("pyav", "asked for")


def test_the_gpu_is_left_alone_where_it_would_not_pay() -> None:
    def proof() -> str:
        pytest.fail("the proof was asked for")

    for file, samplings in ((info("mjpeg"), [EveryFrame()]), (info(width=640, height=360), SAMPLES)):
        assert choose_decoder(file, samplings, nvdec_objection=proof)[0] == "pyav"


class Wrong(PyAvDecoder):
    """Reads as the CPU does, and spoils one frame."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how

    def read(self, uri: str, requests: Sequence[FrameRequest], batch_size: int) -> Iterator[tuple[int, FrameBatch]]:
        for number, batch in super().read(uri, requests, batch_size):
            pixels, times_s, indices = batch.pixels.copy(), batch.times_s.copy(), batch.indices
            if self._how == "raises":
                raise MediaError(uri, "out of decoding sessions")
            if self._how == "no frame":
                return
            if self._how == "count":
                pixels, times_s, indices = pixels[:-1], times_s[:-1], indices[:-1]
            if self._how == "time":
                times_s[1] += 0.001
            if self._how == "order":
                pixels[[0, 1]] = pixels[[1, 0]]
            if self._how == "padding":
                pixels = np.roll(pixels, 4, axis=1)
            if self._how == "layout":
                pixels = np.clip(pixels.astype(np.int16) + 2, 0, 255).astype(np.uint8)
            yield number, FrameBatch(pixels, times_s, indices)


@pytest.mark.parametrize(
    ("how", "objection"),
    [
        ("raises", "it cannot decode a small clip: out of decoding sessions"),
        ("no frame", "it gave 0 frames of a small clip instead of 24"),
        ("count", "it gave 23 frames of a small clip instead of 24"),
        ("time", "it gave a small clip's frames other times or numbers"),
        ("order", "it gave other pictures of a small clip: "),
        ("padding", "it gave other pictures of a small clip: "),
        ("layout", ""),
    ],
)
def test_the_proof(how: str, objection: str) -> None:
    found = prove(Wrong(how), PyAvDecoder())
    assert found.startswith(objection)
    assert bool(found) is bool(objection)


def test_a_gpu_that_decodes_proves_itself_and_one_that_loses_a_frame_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.stand_in(monkeypatch)
    assert prove(GpuDecoder(), PyAvDecoder()) == ""
    gpu.stand_in(monkeypatch, loses=9)
    assert prove(GpuDecoder(), PyAvDecoder()).endswith("a wanted frame did not come out")


def test_no_decoder_of_the_cpu_passes_for_a_gpu() -> None:
    if not nvdec_objection():
        pytest.skip("this machine has a GPU")
    assert prove(GpuDecoder(), PyAvDecoder()).startswith("it cannot decode a small clip: ")


def seen(batches: Batches) -> list[tuple[int, list[int], list[float], list[int]]]:
    return [
        (number, b.indices.tolist(), b.times_s.tolist(), [media.read_pattern(pixels) for pixels in b.pixels])
        for number, b in batches
    ]


@pytest.mark.parametrize("name", ["h264-mp4", "h264-open-gop", "vfr-mp4", "edit-list-mp4", "rotated-mp4", "h264-mkv"])
@pytest.mark.parametrize("at", [{"fails_at": 1}, {"fails_at": 17}, {"fails_at": 40}, {"loses": 17}, {"loses": 40}])
def test_a_failure_amid_a_file_loses_and_doubles_nothing(
    name: str, at: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, said = str(media.build(name, tmp_path).path), list[str]()
    gpu.stand_in(monkeypatch, **at)
    found = list(NvdecDecoder(said.append).read(uri, REQUESTS, 7))
    assert seen(found) == seen(list(PyAvDecoder().read(uri, REQUESTS, 7)))
    (text,) = said
    since = "" if at == {"fails_at": 1} else " after "
    assert text.startswith(f"decoded by the CPU{since}")
    assert text.endswith(("not by NVDEC: damaged: Generic error in an external library", "did not come out"))


def test_what_the_gpu_has_given_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that fails late is not read twice from its beginning."""
    uri, read = str(media.build("h264-mp4", tmp_path).path), list[PacketReader]()
    gpu.stand_in(monkeypatch, fails_at=55)
    decode = PacketReader.decode

    def noted(reader: PacketReader, packet: Any, wanted: bool = True) -> tuple[list[Any], str]:
        read.append(reader)
        return decode(reader, packet, wanted)

    monkeypatch.setattr(PacketReader, "decode", noted)
    assert sum(len(batch) for _, batch in NvdecDecoder(lambda _: None).read(uri, REQUESTS[:1], 7)) == 60
    assert 0 < len([reader for reader in read if not isinstance(reader, gpu.Nv12Reader)]) <= 26


def test_a_damaged_file_is_the_cpus_to_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.stand_in(monkeypatch)
    uri = str(media.cut_off(tmp_path))
    good, causes = [], []
    for decoder in (NvdecDecoder(lambda _: None), PyAvDecoder()):
        batches: Batches = []
        with pytest.raises(MediaError) as caught:
            batches.extend(decoder.read(uri, REQUESTS[:1], 1))
        good.append(seen(batches))
        causes.append((caught.value.cause, caught.value.time_s))
    assert len(good[0]) > 10
    assert (good[0], causes[0]) == (good[1], causes[1])


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(media.build("h264-mp4", tmp_path).path)


def processes_of(decoder: str) -> list[psutil.Process]:
    """This test's living decoding processes: of "nvdec", or "" for all others."""
    return [c for c in children_with("pipelines.media.decoders.process") if ("nvdec" in words(c)) is bool(decoder)]


@pytest.fixture
def no_others() -> None:
    """Decoding processes of earlier tests end when their owners are collected."""
    gc.collect()
    wait_until("no decoding process", lambda: not children_with("pipelines.media.decoders.process"))


@pytest.mark.usefixtures("no_others")
def test_only_processes_for_it_may_open_the_gpu(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    processes, said = DecodeProcesses(), list[str]()
    processes.warm_up(1)
    found = list(processes.read("nvdec", clip, REQUESTS, 7, said.append))
    assert seen(found) == seen(list(PyAvDecoder().read(clip, REQUESTS, 7)))
    objection = processes.nvdec_objection()
    assert said == ([f"decoded by the CPU, not by NVDEC: {objection}"] if objection else [])
    (usual,), (own,) = processes_of(""), processes_of("nvdec")
    assert "CUDA_VISIBLE_DEVICES" not in usual.environ()
    assert own.environ()["CUDA_VISIBLE_DEVICES"] == "0"
    limits = [(p.rlimit(resource.RLIMIT_AS)[0], p.rlimit(resource.RLIMIT_DATA)[0]) for p in (usual, own)]
    assert limits[0][0] == limits[1][1] == MEMORY_LIMIT_BYTES
    assert limits[1][0] == resource.RLIM_INFINITY
    list(processes.read("pyav", clip, REQUESTS, 7))
    assert (processes_of(""), processes_of("nvdec")) == ([usual], [own])


@pytest.mark.usefixtures("no_others")
@pytest.mark.parametrize(("blow", "cause"), [(signal.SIGSEGV, "crashed (SIGSEGV)"), (signal.SIGSTOP, "hung for 3 s")])
def test_where_its_process_ends_or_hangs_the_cpu_goes_on(clip: str, blow: signal.Signals, cause: str) -> None:
    processes, said = DecodeProcesses(), list[str]()
    list(processes.read("nvdec", clip, REQUESTS, 60))  # both kinds of process have started, which may take seconds
    processes._stall_limit_s = 3.0
    batches = processes.read("nvdec", clip, REQUESTS, 1, said.append)
    found = [next(batches) for _ in range(10)]
    os.kill(processes_of("nvdec")[0].pid, blow)
    assert seen([*found, *batches]) == seen(list(PyAvDecoder().read(clip, REQUESTS, 1)))
    assert said[-1].startswith("decoded by the CPU after 0.")
    assert said[-1].endswith(f"not by NVDEC: the decoder {cause}")
    assert processes.nvdec_objection() == f"with a.mp4, the decoder {cause}"


def test_a_report_says_what_decoded(clip: str, tmp_path: Path) -> None:
    task = SegmentTask(clip, REQUESTS[0].segment, probe(clip), ("brightness",), str(tmp_path / "out"), decoder="nvdec")
    analyzer = SegmentAnalyzer(device="cpu")
    report, objection = analyzer.run(task), analyzer.decoding.nvdec_objection()
    assert report.decoder == ("nvdec, then pyav" if objection else "nvdec")
    assert report.decoder_reason == "asked for"
    assert report.warnings == ((f"decoded by the CPU, not by NVDEC: {objection}",) if objection else ())
    assert report.frames == 3


@pytest.mark.parametrize(("allowed", "said"), [(True, "; not NVDEC: too small to pay"), (False, "decodes least")])
def test_it_is_considered_where_it_is_allowed(clip: str, tmp_path: Path, allowed: bool, said: str) -> None:
    task = SegmentTask(clip, REQUESTS[0].segment, probe(clip), ("brightness",), str(tmp_path / "out"))
    report = SegmentAnalyzer(device="cuda", hardware_decoding=allowed).run(task)
    assert report.decoder == "pyav"
    assert report.decoder_reason.endswith(said)
    command = ["--input", clip, "--output", str(tmp_path), "--analyzers", "brightness"]
    assert parse([*command, *["--hardware-decoding"] * allowed], "video", ()).hardware_decoding is allowed
