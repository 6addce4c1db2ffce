"""Every sampled frame comes exactly once, whatever the segmentation."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sampling import EveryFrame, FramesPerSecond, Sampling, Segment, plan_segments, shots_from_cuts

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
    once = [t for t, end in frames if sampling.selects(t, end)]
    # The nominal duration may be wrong in either direction.
    segments = plan_segments(times[-1] * stretch, target_s)
    joined = [t for s in segments for t, end in frames if s.contains(t) and sampling.selects(t, end)]
    assert joined == once


@given(gaps, st.floats(0.1, 120))
def test_each_grid_time_has_one_frame(gaps: list[float], fps: float) -> None:
    times = [math.fsum(gaps[:i]) for i in range(len(gaps) + 1)]
    sampling = FramesPerSecond(fps)
    chosen = sum(sampling.selects(t, end) for t, end in itertools.pairwise(times))
    assert chosen <= min(len(gaps), math.ceil(times[-1] * fps) + 1)
    assert sampling.selects(times[0], times[1])


def test_sampling_at_the_frame_rate_takes_every_frame_despite_millisecond_timestamps() -> None:
    times = [round(i / 30, 3) for i in range(1000)]
    sampling = FramesPerSecond(30)
    assert all(sampling.selects(a, b) for a, b in itertools.pairwise(times))


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
