"""Every sampled frame comes exactly once, whatever the segmentation."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.media.sampling import (
    AtMost,
    EveryFrame,
    EveryNth,
    FramesPerSecond,
    Keyframes,
    Sampling,
    Segment,
    ShownFrame,
    Within,
    check_sampling,
    parse_sampling,
    plan_segments,
    segments_touched,
    shots_from_cuts,
)

durations = st.floats(0.01, 20_000)
targets = st.floats(0.5, 600)
gaps = st.lists(st.sampled_from([1 / 60, 1001 / 30000, 1 / 25, 1 / 7, 0.5, 3.0]), min_size=1, max_size=200)
samplings = st.one_of(st.just(EveryFrame()), st.builds(FramesPerSecond, st.floats(0.1, 120)))


@given(durations, targets)
def test_segments_cover_the_duration_without_gaps_or_tiny_tails(duration_s: float, target_s: float) -> None:
    segments = plan_segments(duration_s, target_s)
    assert (segments[0].start_s, segments[-1].end_s) == (0.0, duration_s)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(segments))
    assert [s.last for s in segments] == [False] * (len(segments) - 1) + [True]
    if len(segments) > 1:
        assert all(0.66 * target_s < s.end_s - s.start_s < 1.34 * target_s for s in segments)


@given(gaps, targets, st.floats(0.2, 5), samplings)
def test_every_frame_is_sampled_exactly_once(
    gaps: list[float], target_s: float, stretch: float, sampling: Sampling
) -> None:
    times = [math.fsum(gaps[:i]) for i in range(len(gaps) + 1)]
    frames = list(itertools.pairwise(times))
    once = [t for t, end in frames if sampling.selects(ShownFrame(t, end))]
    # The nominal duration may be wrong in either direction.
    segments = plan_segments(times[-1] * stretch, target_s)
    joined = [t for s in segments for t, end in frames if s.contains(t) and sampling.selects(ShownFrame(t, end))]
    assert joined == once


@given(gaps, st.floats(0.1, 120))
def test_each_grid_time_has_one_frame(gaps: list[float], fps: float) -> None:
    times = [math.fsum(gaps[:i]) for i in range(len(gaps) + 1)]
    sampling = FramesPerSecond(fps)
    chosen = sum(sampling.selects(ShownFrame(t, end)) for t, end in itertools.pairwise(times))
    assert chosen <= min(len(gaps), math.ceil(times[-1] * fps) + 1)
    assert sampling.selects(ShownFrame(times[0], times[1]))


def test_sampling_at_the_frame_rate_takes_every_frame_despite_millisecond_timestamps() -> None:
    times = [round(i / 30, 3) for i in range(1000)]
    sampling = FramesPerSecond(30)
    assert all(sampling.selects(ShownFrame(a, b)) for a, b in itertools.pairwise(times))


def test_the_last_segment_is_open_and_context_keeps_it_so() -> None:
    first, last = plan_segments(100, 50)
    assert not first.contains(50)
    assert last.contains(50)
    assert last.contains(100.2)
    assert last.widened(2) == Segment(1, 48, 102, last=True)
    assert first.widened(2).start_s == 0
    assert Segment.from_dict(last.to_dict()) == last


@pytest.mark.parametrize("duration_s", [0, -1, math.inf, math.nan])
def test_a_senseless_duration_is_refused(duration_s: float) -> None:
    with pytest.raises(ValueError, match="cannot cut"):
        plan_segments(duration_s)


@pytest.mark.parametrize("fps", [0, -2, math.inf, math.nan])
def test_a_senseless_rate_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        FramesPerSecond(fps)


def test_shots_lie_between_cuts() -> None:
    assert shots_from_cuts([4.0, 1.5, 4.0, 0.0, 99.0], 10) == [(0.0, 1.5), (1.5, 4.0), (4.0, 10)]
    assert shots_from_cuts([], 10) == [(0.0, 10)]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2fps", FramesPerSecond(2)),
        (".5fps", FramesPerSecond(0.5)),
        ("every:10", EveryNth(10)),
        ("all", EveryFrame()),
        ("keyframes", Keyframes()),
        ("max:100", AtMost(100, 60.0)),
        ("10s-20s", Within(EveryFrame(), ((10, 20),))),
        ("2fps, 1.5s-3s, 50-60s", Within(FramesPerSecond(2), ((1.5, 3), (50, 60)))),
    ],
)
def test_the_short_forms(text: str, meant: Sampling) -> None:
    assert parse_sampling(text, 60.0) == meant
    assert check_sampling(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown sampling ''; write '2fps'"),
        ("2", "unknown sampling '2'"),
        ("-2fps", "unknown sampling '-2fps'"),
        ("0fps", "fps must be a positive number"),
        ("every:0", "n must be 1 or more"),
        ("max:0", "n must be 1 or more"),
        ("2fps,max:3", "two rules"),
        ("20s-10s", "20s-10s is empty"),
        ("2fps,", "unknown sampling ''"),
    ],
)
def test_a_wrong_form_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sampling(text)


@given(gaps, st.integers(1, 40), st.floats(0.2, 5))
def test_at_most_is_a_promise_even_if_the_header_lies(gaps: list[float], count: int, lie: float) -> None:
    times = [math.fsum(gaps[:i]) for i in range(len(gaps) + 1)]
    sampling = AtMost(count, times[-1] * lie)
    chosen = [t for t, end in itertools.pairwise(times) if sampling.selects(ShownFrame(t, end))]
    assert 1 <= len(chosen) <= count


def test_every_nth_counts_frames_and_ranges_bound_times() -> None:
    frames = [ShownFrame(i / 10, (i + 1) / 10, i, is_keyframe=i % 12 == 0) for i in range(50)]
    assert [f.index for f in frames if EveryNth(20).selects(f)] == [0, 20, 40]
    assert [f.index for f in frames if Keyframes().selects(f)] == [0, 12, 24, 36, 48]
    ranged = Within(Keyframes(), ((1.2, 2.4), (4.0, 9.0)))
    assert [f.index for f in frames if ranged.selects(f)] == [12, 48]


@given(durations, targets, st.lists(st.floats(0, 20_000), max_size=50).map(sorted))
def test_borders_move_to_keyframes_but_segments_keep_their_size(
    duration_s: float, target_s: float, keyframes: list[float]
) -> None:
    segments = plan_segments(duration_s, target_s, keyframes)
    assert [s.index for s in segments] == list(range(len(segments)))
    assert (segments[0].start_s, segments[-1].end_s) == (0.0, duration_s)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(segments))
    if len(segments) > 1:
        assert all(0.43 * target_s < s.end_s - s.start_s < 1.8 * target_s for s in segments)


def test_a_border_lies_on_the_nearest_keyframe() -> None:
    assert [s.start_s for s in plan_segments(120, 60, [0.0, 51.0, 57.0, 64.0, 90.0])] == [0.0, 57.0]
    assert [s.start_s for s in plan_segments(120, 60, [0.0, 20.0])] == [0.0, 60.0]


def test_segments_outside_of_the_ranges_are_not_touched() -> None:
    segments = plan_segments(300, 60)
    touched = segments_touched(segments, Within(EveryFrame(), ((30.0, 61.0), (400.0, 500.0))))
    assert [s.index for s in touched] == [0, 1, 4]
    assert segments_touched(segments, EveryFrame()) == segments
