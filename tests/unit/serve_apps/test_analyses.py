"""Progress, ETA, reasons, costs and states, as values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.analyses import (
    MAX_ATTEMPTS,
    AnalysisState,
    Busy,
    SegmentGroup,
    SegmentState,
    after_outage_at,
    after_segment_failure,
    analysis_state,
    attribute_cost,
    boot_left_s,
    eta_s,
    progress,
    retry_at,
    waiting_reason,
)

PENDING, LEASED, DONE, FAILED, CANCELLED = SegmentState
QUEUED, RUNNING, SUCCEEDED, PARTIAL, ENDED, STOPPED = AnalysisState


def group(state: SegmentState, count: int = 1, media_s: float = 60.0, **more: Any) -> SegmentGroup:
    return SegmentGroup(state, more.pop("begun", state is DONE), count, media_s, **more)


def instance(state: str = "bought", **more: Any) -> dict[str, Any]:
    base = {"name": "i-1", "cloud": "local", "state": state, "phase": "its machine boots and joins", "joined": False}
    return base | {"wanted_at": 100.0, "usual_boot_s": 6.0, "cost_usd": 0.0} | more


def fleet(*instances: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"instances": list(instances), "clouds": ["local"], "usual_boot_s": 6.0, "degraded": {}} | more


@pytest.mark.parametrize(
    ("media", "state"),
    [
        ([{PENDING, DONE}], RUNNING),
        ([{LEASED, FAILED}], RUNNING),
        ([{DONE}, {FAILED}, {PENDING}], RUNNING),
        ([{DONE}], SUCCEEDED),
        ([{DONE}, {DONE}], SUCCEEDED),
        ([set(), set()], SUCCEEDED),
        ([{DONE, FAILED}], ENDED),
        ([{DONE, FAILED}, {FAILED}], ENDED),
        ([{DONE}, {DONE, FAILED}], PARTIAL),
        ([{FAILED}, {DONE}], PARTIAL),
        ([{DONE}, {FAILED, CANCELLED}], STOPPED),
    ],
)
def test_an_analysis_ends_with_its_last_segment(media: list[set[SegmentState]], state: AnalysisState) -> None:
    assert analysis_state(media) is state


def test_failures_are_retried_until_they_are_too_many_or_hopeless() -> None:
    assert after_segment_failure(1, MAX_ATTEMPTS, retryable=True) is PENDING
    assert after_segment_failure(MAX_ATTEMPTS, MAX_ATTEMPTS, retryable=True) is FAILED
    assert after_segment_failure(1, MAX_ATTEMPTS, retryable=False) is FAILED


@given(attempt=st.integers(1, 10_000), now=st.floats(0, 4e9))
def test_retries_come_later_and_later_but_within_a_minute(attempt: int, now: float) -> None:
    assert now < retry_at(attempt, now) <= retry_at(attempt + 1, now) <= now + 60.0


@given(since=st.floats(1e9, 4e9), lasted_s=st.floats(0, 599))
def test_an_outage_is_waited_for_more_and_more_patiently(since: float, lasted_s: float) -> None:
    again = after_outage_at(since, since + lasted_s)
    assert again is not None
    assert 0.49 <= again - (since + lasted_s) <= 60.01
    later = after_outage_at(since, since + lasted_s / 2)
    assert later is not None
    assert later - (since + lasted_s / 2) <= again - (since + lasted_s) + 0.01


def test_an_outage_of_ten_minutes_is_no_outage_any_more() -> None:
    assert after_outage_at(1000.0, 1600.0) is None


def test_progress_is_of_media_seconds() -> None:
    seen = progress([group(DONE, 2, 90.0, frames=180), group(LEASED, 1, 10.0)])
    assert (seen.percent, seen.segments_done, seen.segments_total, seen.frames) == (90.0, 2, 3, 180)
    assert progress([]).percent == 0.0


def test_the_eta_uses_the_speed_that_was_measured() -> None:
    done = group(DONE, 2, 120.0, busy_s=60.0)  # two media seconds a second
    left = group(PENDING, 4, 240.0)
    assert eta_s([done, left], 0.0) == 120.0
    assert eta_s([done, left], 0.0, slots=2) == 60.0
    assert eta_s([done, left], 0.0, slots=100) == 30.0  # no more hands than segments
    assert eta_s([left], 0.0, speed=4.0, waiting_s=6.0) == 66.0
    assert eta_s([], 0.0) is None
    assert eta_s([done], 0.0) == 0.0


@given(st.floats(0, 1e6))
def test_the_eta_counts_down_and_never_reaches_zero_before_the_end(elapsed_s: float) -> None:
    running = group(LEASED, 1, 60.0, begun=True, first_begun_at=0.0)
    eta = eta_s([running], elapsed_s, speed=1.0)
    assert eta is not None
    assert 0 < eta <= 60.0
    assert eta <= max(3.0, 60.0 - elapsed_s) + 0.1


LEASED_ONLY = [group(LEASED)]


@pytest.mark.parametrize(
    ("state", "seen", "groups", "reason"),
    [
        (QUEUED, fleet(), [], "reading the media's headers"),
        (RUNNING, fleet(), LEASED_ONLY, "no GPU worker yet: asking for one from local, usually 6 s"),
        (
            RUNNING,
            fleet(degraded={"local": "no memory"}),
            LEASED_ONLY,
            "no GPU worker yet: asking for one from local, usually 6 s; local: no memory",
        ),
        (RUNNING, fleet(instance("ended")), LEASED_ONLY, "no GPU worker yet: asking for one from local, usually 6 s"),
        (
            RUNNING,
            fleet(instance("wanted", phase="the budget of 1 USD an hour is used up")),
            LEASED_ONLY,
            "no GPU worker yet: the budget of 1 USD an hour is used up (local), usually 6 s",
        ),
        (RUNNING, fleet(instance("buying")), LEASED_ONLY, "no GPU worker yet: buying one from local, usually 6 s"),
        (
            RUNNING,
            fleet(instance("wanted"), instance("bought")),
            LEASED_ONLY,
            "no GPU worker yet: bought one from local, its machine boots and joins, usually 6 s",
        ),
        (RUNNING, fleet(instance(joined=True)), LEASED_ONLY, "a worker is there: it loads its models"),
        (RUNNING, fleet(instance(joined=True)), [group(PENDING)], "the workers are busy with earlier analyses"),
        (RUNNING, fleet(), [group(PENDING, not_before=113.0)], "an attempt failed: trying again in 3 s"),
        # What the service knows when the orchestrator does not answer.
        (
            RUNNING,
            {"instances": [], "degraded": {"orchestrator": "does not answer"}},
            LEASED_ONLY,
            "no GPU worker yet: asking for one from a cloud; orchestrator: does not answer",
        ),
    ],
)
def test_a_wait_says_why(state: AnalysisState, seen: dict[str, Any], groups: list[SegmentGroup], reason: str) -> None:
    waiting = waiting_reason(seen, state, groups, created_at=99.0, now=110.0)
    assert waiting is not None
    assert waiting["reason"] == reason


def test_the_rest_of_a_wait() -> None:
    waiting = waiting_reason(fleet(instance("buying")), RUNNING, LEASED_ONLY, created_at=99.0, now=102.0)
    assert waiting is not None
    assert (waiting["since_s"], waiting["usual_s"], boot_left_s(waiting)) == (2.0, 6.0, 4.0)
    assert boot_left_s(None) == boot_left_s(waiting | {"usual_s": None}) == 0.0
    assert boot_left_s(waiting | {"since_s": 100.0}) == 0.0


@pytest.mark.parametrize(
    ("state", "groups"),
    [
        (SUCCEEDED, [group(DONE)]),
        (ENDED, [group(FAILED)]),
        (RUNNING, [group(LEASED, begun=True, first_begun_at=1.0)]),
        (RUNNING, [group(DONE), group(LEASED)]),  # between two segments, on a worker that is there
    ],
)
def test_what_does_not_wait_has_no_reason(state: AnalysisState, groups: list[SegmentGroup]) -> None:
    assert waiting_reason(fleet(instance(joined=True)), state, groups, 0.0, 10.0) is None


def test_costs_are_shared_by_the_seconds_worked() -> None:
    work = [Busy("an_a", "i-1", 30.0), Busy("an_b", "i-1", 10.0), Busy("an_b", "i-2", 5.0), Busy("an_b", "i-9", 5.0)]
    instances = [instance(cost_usd=0.4), instance(name="i-2", cost_usd=0.1), instance(name="i-3", cost_usd=9.0)]
    assert attribute_cost(work, instances) == pytest.approx({"an_a": 0.3, "an_b": 0.2})


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.floats(0.001, 1e5))),
    st.fixed_dictionaries({name: st.floats(0, 100) for name in "xyz"}),
)
def test_every_cent_of_a_worker_that_worked_is_somebodys(
    work: list[tuple[str, str, float]], costs: dict[str, float]
) -> None:
    shares = attribute_cost([Busy(*w) for w in work], [instance(name=n, cost_usd=c) for n, c in costs.items()])
    assert sum(shares.values()) == pytest.approx(sum(costs[name] for name in {w[1] for w in work}))
