"""One conformance suite over every decoder and every clip: the right frames, at the right times, exactly once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from pipelines.errors import MediaError
from pipelines.media import container
from pipelines.media.decoders import packets as packets_module
from pipelines.media.decoders import pyav
from pipelines.media.decoders.contract import DECODERS, Decoder, FrameRequest, choose_decoder, load_decoder
from pipelines.media.decoders.nvdec import GpuDecoder, nvdec_objection
from pipelines.media.decoders.packets import PacketReader, seek
from pipelines.media.decoders.pyav import PyAvDecoder
from pipelines.media.sampling import (
    AtMost,
    EveryFrame,
    EveryNth,
    FramesPerSecond,
    Keyframes,
    Sampling,
    Segment,
    Within,
    plan_segments,
)
from pipelines.media.sources import probe
from tests.support.samples import gpu, media

SIZE = (48, 80)
Shown = tuple[float, int, int]  # time_s, number read from the picture, index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module", params=media.CLIPS)
def clip(request: pytest.FixtureRequest, folder: Path) -> media.Clip:
    name: str = request.param
    return media.build(name, folder)


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, clip: media.Clip, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    name: str = request.param
    if name == "decord":
        pytest.importorskip(name)
        chosen, reason = choose_decoder(probe(str(clip.path)), [EveryFrame()])
        if chosen != name:
            pytest.skip(f"choose_decoder never gives this file to {name}: {reason}")
    if name == "nvdec" and nvdec_objection():
        gpu.stand_in(monkeypatch)  # see test_nvdec_is_this_machines_own
        said = list[str]()
        yield load_decoder(name, on_fallback=said.append)
        tells = clip.path.suffix not in (".avi", ".ts")
        assert [text for text in said if tells or "does not tell which frames" not in text] == []
        return
    yield load_decoder(name)


def test_nvdec_is_this_machines_own(folder: Path) -> None:
    """Where this is skipped, the CPU stands in for a GPU in this suite: all else of that decoder is the real one."""
    if objection := nvdec_objection():
        pytest.skip(f"no hardware decoding here: {objection}")
    clip = media.build("h264-mp4", folder)
    assert [number for _, number, _ in shown(GpuDecoder(), clip, whole(clip), EveryFrame())] == list(range(60))


def shown(decoder: Decoder, clip: media.Clip, segment: Segment, sampling: Sampling) -> Iterator[Shown]:
    for batch in decoder.frames(str(clip.path), segment, sampling, SIZE, batch_size=7):
        assert batch.pixels.dtype == np.uint8
        assert batch.pixels.shape[1:] == (*SIZE, 3)
        assert len(batch) <= 7
        for pixels, time_s, index in zip(batch.pixels, batch.times_s, batch.indices, strict=True):
            yield float(time_s), media.read_pattern(pixels), int(index)


def whole(clip: media.Clip) -> Segment:
    return Segment(0, 0.0, clip.times_s[-1], last=True)


def test_every_frame_comes_right_and_in_order(decoder: Decoder, clip: media.Clip) -> None:
    times, numbers, indices = zip(*shown(decoder, clip, whole(clip), EveryFrame()), strict=True)
    assert numbers == clip.numbers
    assert indices == tuple(range(len(clip.numbers)))
    assert times == pytest.approx(clip.times_s, abs=clip.tolerance_s)


SAMPLINGS = [
    EveryFrame(),
    FramesPerSecond(2),
    FramesPerSecond(9.7),
    EveryNth(7),
    Keyframes(),
    AtMost(5, 2.4),
    Within(EveryFrame(), ((0.1, 0.3), (1.0, 1.5))),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("target_s", [0.31, 0.8])
def test_segments_join_exactly_once(decoder: Decoder, clip: media.Clip, sampling: Sampling, target_s: float) -> None:
    whole_pass = list(shown(decoder, clip, whole(clip), sampling))
    duration_s = probe(str(clip.path)).duration_s
    segments = plan_segments(duration_s, target_s)
    assert len(segments) >= 2
    joined = [frame for segment in segments for frame in shown(decoder, clip, segment, sampling)]
    assert joined == whole_pass


def test_a_sample_is_what_is_on_screen(decoder: Decoder, clip: media.Clip) -> None:
    every = list(shown(decoder, clip, whole(clip), EveryFrame()))
    sampled = list(shown(decoder, clip, whole(clip), FramesPerSecond(3)))
    targets = np.arange(0, every[-1][0], 1 / 3)
    on_screen = {max(frame for frame in every if frame[0] <= target + 0.0006) for target in targets}
    last = every[-1:]  # how long it stays is the container's to say
    assert [frame for frame in sampled if frame not in last] == sorted(on_screen - set(last))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_a_sampling_takes_the_frames_it_selects(decoder: Decoder, clip: media.Clip, sampling: Sampling) -> None:
    every = list(shown(decoder, clip, whole(clip), EveryFrame()))
    sampled = list(shown(decoder, clip, whole(clip), sampling))
    assert sampled
    assert [frame for frame in sampled if frame not in every] == []
    if isinstance(sampling, EveryNth):
        assert [index for _, _, index in sampled] == list(range(0, len(every), sampling.n))
    if isinstance(sampling, Within):
        assert sampled == [frame for frame in every if 0.1 <= frame[0] < 0.3 or 1.0 <= frame[0] < 1.5]


def test_only_what_is_needed_is_decoded(clip: media.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exactness of skipping is not bought by falling back to decoding everything."""
    if clip.path.suffix == ".avi":
        pytest.skip("AVI has no presentation times: it is decoded from its beginning")
    decoded: list[int] = []
    decode = PacketReader.decode

    def counted(*arguments: Any) -> Any:
        decoded.append(1)
        return decode(*arguments)

    monkeypatch.setattr(PacketReader, "decode", counted)
    monkeypatch.delattr(pyav, "sequential")
    keyframes = list(shown(PyAvDecoder(), clip, whole(clip), Keyframes()))
    # A keyframe every 12 frames; a broadcast's last group is decoded to its end, where damage would show.
    last_group = 12 if clip.path.suffix == ".ts" else 0
    assert len(decoded) <= len(keyframes) + last_group
    decoded.clear()
    late = Segment(1, clip.times_s[-1] - 0.1, clip.times_s[-1], last=True)
    assert list(shown(PyAvDecoder(), clip, late, EveryFrame()))
    assert len(decoded) <= 26


def test_several_requests_share_a_pass(decoder: Decoder, clip: media.Clip) -> None:
    middle = Segment(1, clip.times_s[20] - 0.002, clip.times_s[30] - 0.002)
    requests = [FrameRequest(middle, EveryFrame(), SIZE), FrameRequest(whole(clip), FramesPerSecond(2), (32, 64))]
    found: list[list[int]] = [[], []]
    for number, batch in decoder.read(str(clip.path), requests, batch_size=4):
        found[number] += batch.indices.tolist()
    alone = [index for _, _, index in shown(decoder, clip, whole(clip), FramesPerSecond(2))]
    assert found == [list(range(20, 30)), alone]


def test_a_late_segment_is_read_from_its_keyframe(clip: media.Clip) -> None:
    """Not from the file's beginning, and it knows how many frames come before."""
    with container.open_video(str(clip.path)) as video:
        if "mp4" not in video.format or not 0 < video.stream.frames <= len(video.stream.index_entries):
            pytest.skip("its index does not count every frame")
        packets = [packet for packet in video.container.demux(video.stream) if packet.size]
    numbers = {packet.pos: sum(not p.is_discard for p in packets[:at]) for at, packet in enumerate(packets)}
    late_pts = packets[-1].pts
    for _ in range(2):  # what is known of the index is kept
        with container.open_video(str(clip.path)) as video:
            number, following = seek(PacketReader(video, 1, lambda: None), late_pts)
            first = next(following)
        assert first.is_keyframe
        assert number == numbers[first.pos] > 0


def test_what_was_counted_once_is_not_counted_again(clip: media.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only reading tells how many frames come before: the next segment goes on from there."""
    middle_s, late_s = clip.times_s[-1] - 0.6, clip.times_s[-1] - 0.1
    late = Segment(2, late_s, clip.times_s[-1], last=True)
    read: list[int] = []
    packets = PacketReader.packets

    def counted(reader: PacketReader) -> Iterator[Any]:
        for packet in packets(reader):
            read.append(packet.size)
            yield packet

    monkeypatch.setattr(PacketReader, "packets", counted)
    found, sizes = [], []
    for before in (None, Segment(1, middle_s, late_s)):
        packets_module._known_of.cache_clear()
        if before is not None:
            list(shown(PyAvDecoder(), clip, before, EveryFrame()))
        read.clear()
        found.append(list(shown(PyAvDecoder(), clip, late, EveryFrame())))
        sizes.append(len(read))
    assert found[0] == found[1] != []
    if clip.path.suffix in (".mkv", ".webm"):
        assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize("name", ["h264-mkv", "vp9-webm", "h264-fragmented"])
def test_a_seek_that_goes_astray_costs_time_but_no_frame(name: str, folder: Path) -> None:
    clip = media.build(name, folder)
    late = Segment(2, clip.times_s[-1] - 0.5, clip.times_s[-1], last=True)
    right = list(shown(PyAvDecoder(), clip, late, EveryFrame()))
    with container.open_video(str(clip.path)) as video:
        known = PacketReader(video, 1, lambda: None).known
    known.counted = dict.fromkeys((pts + 1 for pts in known.counted), 1000)  # keyframes that are none
    assert list(shown(PyAvDecoder(), clip, late, EveryFrame())) == right != []
    assert 1000 not in known.counted.values(), "what was wrong is forgotten"


def test_a_file_whose_origin_is_known_is_opened_once(clip: media.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives the same frames as one whose origin has to be found."""
    opened: list[str] = []

    def counted(uri: str, *arguments: Any) -> Any:
        opened.append(uri)
        return container.open_video(uri, *arguments)

    monkeypatch.setattr(pyav, "open_video", counted)
    found = []
    for origin_pts in (None, probe(str(clip.path)).origin_pts):
        opened.clear()
        request = FrameRequest(whole(clip), FramesPerSecond(5), SIZE, origin_pts)
        batches = [batch for _, batch in PyAvDecoder().read(str(clip.path), [request], batch_size=64)]
        found.append([(b.times_s.tolist(), b.indices.tolist(), b.pixels.tolist()) for b in batches])
    assert found[0] == found[1]
    assert found[0]
    assert opened == [str(clip.path)]


@pytest.mark.parametrize(
    "name", ["h264-mp4", "h264-open-gop", "edit-list-mp4", "h264-ts", "hevc-mp4", "rotated-mp4", "h264-mkv"]
)
def test_choose_decoder_excuses_decord_where_it_is_wrong(name: str, folder: Path) -> None:
    info = probe(str(media.build(name, folder).path))
    chosen, reason = choose_decoder(info, [EveryFrame()])
    assert (chosen, bool(reason)) == ("pyav", True)
    assert choose_decoder(info, [EveryFrame()], override="decord") == ("decord", "asked for")


def test_choose_decoder_takes_decord_for_every_frame_of_webm(folder: Path) -> None:
    pytest.importorskip("decord")
    info = probe(str(media.build("vp9-webm", folder).path))
    assert choose_decoder(info, [EveryFrame()])[0] == "decord"
    assert choose_decoder(info, [EveryFrame(), FramesPerSecond(2)])[0] == "pyav"
    with pytest.raises(ValueError, match="choose from: pyav, decord, nvdec"):
        choose_decoder(info, [], override="quicktime")


@pytest.mark.parametrize("build", [media.cut_off, media.damaged])
def test_a_damaged_file_gives_its_good_frames_first(build: Callable[[Path], Path], folder: Path) -> None:
    good: list[int] = []
    frames = PyAvDecoder().frames(str(build(folder)), Segment(0, 0.0, 2.4, last=True), EveryFrame(), SIZE, 8)
    numbers = (media.read_pattern(pixels) for batch in frames for pixels in batch.pixels)
    with pytest.raises(MediaError) as caught:
        good.extend(numbers)
    assert 10 < len(good) < 60
    assert good == list(range(len(good)))
    assert caught.value.time_s == pytest.approx(len(good) / 25, abs=0.1)


def test_segments_before_the_damage_are_whole(folder: Path) -> None:
    path = str(media.cut_off(folder))
    segments = plan_segments(2.4, 0.8)
    decoder = PyAvDecoder()
    first = list(decoder.frames(path, segments[0], EveryFrame(), SIZE, 64))
    assert first[0].indices.tolist() == list(range(20))
    with pytest.raises(MediaError, match=r"damaged|cut off"):
        list(decoder.frames(path, segments[2], EveryFrame(), SIZE, 64))
