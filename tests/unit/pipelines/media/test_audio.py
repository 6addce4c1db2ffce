"""Sound comes at the right time, whole, and once; borders move into pauses."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import MediaError
from pipelines.media.decoders.audio import read_samples
from pipelines.media.sound import RATE_HZ, Samples, cut_near
from tests.support.samples import media
from tests.support.samples.sound import click_times, clicks, write

AT_S = [0.25, 1.0, 2.5, 3.999, 5.75]
FILES = {  # file, codec, rate of the file, how exact its times are
    "wav": ("a.wav", "pcm_s16le", 44_100, 0.0002),
    "flac": ("a.flac", "flac", 48_000, 0.0002),
    "m4a": ("a.m4a", "aac", 44_100, 0.002),
    "mkv": ("a.mkv", "aac", 32_000, 0.003),
    "mp3": ("a.mp3", "libmp3lame", 22_050, 0.003),
    "opus": ("a.webm", "libopus", 48_000, 0.003),
    "ts": ("a.ts", "aac", 48_000, 0.023),  # MPEG-TS cannot say that AAC begins with 21 ms of nothing
}


@pytest.fixture(params=FILES)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, float]:
    file, codec, rate, tolerance_s = FILES[request.param]
    return write(tmp_path / file, clicks(6.5, AT_S, rate), rate, codec), tolerance_s


def test_sound_keeps_its_times(recorded: tuple[Path, float]) -> None:
    path, tolerance_s = recorded
    samples, damage = read_samples(str(path), 0.0)
    assert (damage, samples.start_s) == (None, 0.0)
    assert samples.values.dtype == np.float32
    assert samples.end_s == pytest.approx(6.5, abs=0.1)
    assert click_times(samples.values, RATE_HZ) == pytest.approx(AT_S, abs=tolerance_s)


def test_a_stretch_is_part_of_the_whole(recorded: tuple[Path, float]) -> None:
    path, tolerance_s = recorded
    part, _ = read_samples(str(path), 2.2, 4.4)
    assert part.start_s == pytest.approx(2.2)
    assert len(part.values) == round(2.2 * RATE_HZ)
    assert click_times(part.values, RATE_HZ, part.start_s) == pytest.approx([2.5, 3.999], abs=tolerance_s)
    if path.suffix in (".wav", ".flac"):
        whole, _ = read_samples(str(path), 0.0)
        assert np.array_equal(part.values, whole.between(2.2, 4.4).values)


def test_words_and_frames_share_one_clock(tmp_path: Path) -> None:
    # The picture starts half a second before the sound: zero is the first frame.
    late = write(tmp_path / "late.mkv", clicks(2, [0.5], 48_000), 48_000, "aac", start_s=0.5, picture_from_s=0.0)
    samples, _ = read_samples(str(late), 0.0)
    assert click_times(samples.values, RATE_HZ) == pytest.approx([1.0], abs=0.003)
    # And the other way round: what is heard before the first frame has no place on its clock.
    early = write(tmp_path / "early.mkv", clicks(2, [0.2, 1.5], 48_000), 48_000, "aac", picture_from_s=1.0)
    samples, _ = read_samples(str(early), 0.0)
    assert click_times(samples.values, RATE_HZ) == pytest.approx([0.5], abs=0.003)


def test_what_has_no_sound_says_so(tmp_path: Path) -> None:
    silent = media.build("h264-mp4", tmp_path).path
    with pytest.raises(MediaError, match=r"a\.mp4: no audio stream"):
        read_samples(str(silent), 0.0)
    with pytest.raises(MediaError, match=r"text\.mp4: not a media file"):
        read_samples(str(media.not_media(tmp_path)), 0.0)


def test_damage_ends_the_sound_and_is_reported(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).uniform(-0.01, 0.01, (2, 312_000)).astype(np.float32)
    path = write(tmp_path / "a.flac", clicks(6.5, AT_S, 48_000) + noise, 48_000, "flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = np.random.default_rng(1).integers(0, 256, len(data) - len(data) // 2, np.uint8).tobytes()
    path.write_bytes(bytes(data))
    samples, damage = read_samples(str(path), 0.0)
    assert damage is not None
    assert "damaged sound" in str(damage)
    assert damage.time_s is not None
    assert 0 < damage.time_s < 6.5
    assert click_times(samples.values, RATE_HZ)[:2] == pytest.approx(AT_S[:2], abs=0.001)


def test_parts_share_no_sample_and_lose_none() -> None:
    samples = Samples(np.arange(1000, dtype=np.float32), 2.0)
    borders = [0.0, 2.01, 2.02003, 2.05, math.inf]
    parts = [samples.between(a, b) for a, b in itertools.pairwise(borders)]
    assert np.array_equal(np.concatenate([part.values for part in parts]), samples.values)
    assert parts[2].start_s == pytest.approx(2.02, abs=1 / RATE_HZ)
    assert len(samples.between(90, 99).values) == 0


@pytest.mark.parametrize(
    ("speech", "cut_s"),
    [
        ([], 10.0),
        ([(7.0, 9.5)], 10.0),
        ([(8.0, 10.5)], 11.75),  # the longest pause is after it
        ([(7.0, 9.0), (9.4, 10.6), (10.8, 13.0)], 9.2),
        ([(7.0, 13.0)], 10.0),  # nobody pauses
    ],
)
def test_borders_move_into_pauses(speech: list[tuple[float, float]], cut_s: float) -> None:
    assert cut_near(10.0, (7.0, 13.0), speech) == pytest.approx(cut_s)
