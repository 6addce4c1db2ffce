"""How long clouds want to be left alone, and that no such wish keeps a machine from its end."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.clouds.rate_limits import (
    LONGEST_WAIT_S,
    CallKind,
    Pace,
    retry_after_s,
    spread_s,
    threshold_s,
    windows,
)

THREE = '"minute";r=0;t=12, "hour";r=0;t=1812, "day";r=49500;t=45012'
OTHERS = [kind for kind in CallKind if kind is not CallKind.END]
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)

# What servers and proxies may write: numbers of any size and sign, dates in any form, and nonsense.
numbers = st.one_of(st.integers(-(10**30), 10**30), st.floats(), st.sampled_from([0, 1, 7200, 10**400]))
dates = st.datetimes().map(lambda moment: format_datetime(moment.replace(tzinfo=UTC), usegmt=True))
values = st.one_of(numbers.map(str), dates, st.text(max_size=40))
member = st.builds('"{}";r={};t={}'.format, st.sampled_from(["minute", "hour", "day"]), numbers, numbers)
header_sets = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": values,
        "date": values,
        "ratelimit": st.one_of(st.lists(member, max_size=4).map(", ".join), st.text(max_size=60)),
    },
)
texts = st.one_of(
    st.just(""), numbers.map("API requests too frequent endpoint threshold={}".format), st.text(max_size=40)
)
answers = st.tuples(st.sampled_from([200, 204, 404, 429, 500, 503]), header_sets, texts, st.floats(0, 10**6))


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after": "12"}, "", 12),
        ({"retry-after": "12", "ratelimit": THREE}, "", 1812),
        ({"retry-after": "4000", "ratelimit": THREE}, "", 4000),
        ({"retry-after": "99999999999"}, "", 86_400),
        ({"retry-after": "9" * 5000}, "", 86_400),
        ({"retry-after": "soon"}, "<html>", 5),
        ({"retry-after": "-7200"}, "", 5),
        ({"retry-after": "nan"}, "", 5),
        ({"retry-after": "1e9"}, "", 5),
        ({"retry-after": "12, 30"}, "", 5),
        ({"retry-after": "0"}, "", 1),
        ({}, "API requests too frequent endpoint threshold=4.5", 4.5),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT", "date": "Wed, 25 Nov 2026 12:00:00 GMT"}, "", 30),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 -0000", "date": "Wed, 25 Nov 2026 12:00:00 GMT"}, "", 30),
        ({"retry-after": "Wed, 25 Nov 2026 11:00:00 GMT", "date": "Wed, 25 Nov 2026 12:00:00 GMT"}, "", 1),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, "", 5),
        ({"retry-after": "Wed, 25 Nov 9999999 12:00:30 GMT"}, "", 5),
        ({"ratelimit": '"day";t=90;r=0'}, "", 90),
        ({"ratelimit": f'"day";r=0;t={"9" * 5000}'}, "", 86_400),
    ],
)
def test_a_refusal_is_waited_out_by_its_longest_demand(headers: dict[str, str], text: str, seconds: float) -> None:
    assert retry_after_s(headers, text) == seconds


def test_a_date_without_the_answers_own_date_is_judged_by_our_clock() -> None:
    assert retry_after_s({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, "", NOON.timestamp()) == 30


@given(header_sets, texts)
def test_whatever_the_headers_say_a_wait_lasts_between_a_second_and_a_day(headers: dict[str, str], text: str) -> None:
    assert 1 <= retry_after_s(headers, text, NOON.timestamp()) <= 86_400
    assert all(w.remaining >= 0 and 0 <= w.reset_s <= 86_400 for w in windows(headers.get("ratelimit", "")))


@given(st.lists(st.tuples(st.sampled_from(OTHERS), answers), max_size=12))
def test_nothing_that_other_calls_are_told_delays_an_end(
    told: list[tuple[CallKind, tuple[int, dict[str, str], str, float]]],
) -> None:
    pace, now = Pace(), 0.0
    for kind, (status, headers, text, pause_s) in told:
        pace.sent(kind, now)
        pace.answered(kind, status, headers, text, now, NOON.timestamp())
        assert pace.wait_s(CallKind.END, now) == 0.0
        now += pause_s
        assert pace.wait_s(CallKind.END, now) == 0.0


@given(st.lists(answers, min_size=1, max_size=12))
def test_a_refused_end_delays_ends_only_and_no_longer_than_half_a_minute(
    told: list[tuple[int, dict[str, str], str, float]],
) -> None:
    pace, now = Pace({CallKind.END: 3.0}), 0.0
    for status, headers, text, pause_s in told:
        others = {kind: pace.wait_s(kind, now) for kind in OTHERS}
        pace.sent(CallKind.END, now)
        pace.answered(CallKind.END, status, headers, text, now, NOON.timestamp())
        assert pace.wait_s(CallKind.END, now) <= LONGEST_WAIT_S[CallKind.END] == 30.0
        if status == 429:
            assert {kind: pace.wait_s(kind, now) for kind in OTHERS} == others
        now += pause_s


@given(st.sampled_from(OTHERS), header_sets, texts)
def test_a_refusal_closes_the_gate_of_its_own_kind_alone(kind: CallKind, headers: dict[str, str], text: str) -> None:
    pace = Pace()
    pace.sent(kind, 0.0)
    pace.answered(kind, 429, headers, text, 0.0)
    assert pace.wait_s(kind, 0.0) >= 1.0
    assert all(pace.wait_s(other, 0.0) == 0.0 for other in CallKind if other is not kind)


def test_a_used_up_day_leaves_each_kind_the_calls_that_are_kept_for_it() -> None:
    """What is left of a window goes to the more important kinds: bills first go without, ends never do."""
    allowed = {}
    for left in (60, 40, 30, 20, 10, 1, 0):
        pace = Pace()
        pace.answered(CallKind.LIST, 200, {"ratelimit": f'"day";r={left};t=39995'}, "", 0.0)
        allowed[left] = [kind.value for kind in CallKind if pace.wait_s(kind, 0.0) == 0.0]
    assert allowed == {
        60: ["end", "buy", "list", "offers", "bill"],
        40: ["end", "buy", "list", "offers"],
        30: ["end", "buy", "list"],
        20: ["end", "buy"],
        10: ["end"],
        1: ["end"],
        0: ["end"],
    }


def test_after_a_pause_one_call_tests_whether_it_is_over() -> None:
    pace = Pace()
    pace.answered(CallKind.END, 429, {"retry-after": "7200"}, "", 0.0)
    assert pace.wait_s(CallKind.END, 0.0) == 30.0
    assert pace.wait_s(CallKind.END, 30.0) == 0.0
    pace.sent(CallKind.END, 30.0)
    assert pace.wait_s(CallKind.END, 30.0) == 30.0, "the others wait for its answer"
    pace.answered(CallKind.END, 204, {}, "", 31.0)
    assert pace.wait_s(CallKind.END, 31.0) == 0.0


def test_only_a_text_with_a_threshold_has_one() -> None:
    assert threshold_s("endpoint threshold=3.0") == 3.0
    assert threshold_s("too frequent") is None


def test_reads_are_spread_so_that_no_window_is_used_up() -> None:
    header = '"minute";r=59;t=60, "hour";r=2999;t=3600, "day";r=49999;t=86400'
    assert spread_s(header) == pytest.approx(86_400 / (49_979 * 0.75))
    assert spread_s("") == 0.0
    assert spread_s(header, CallKind.END) == 0.0


def test_at_the_pace_of_reads_a_whole_day_stays_within_all_windows() -> None:
    """A fixed-window server that counts, and a client that asks for lists and offers without end."""
    pace, now, used = Pace(), 0.0, {"minute": 0, "hour": 0, "day": 0}
    quotas = {"minute": (60, 60), "hour": (3000, 3600), "day": (50_000, 86_400)}
    counted: dict[str, int] = {}
    while now < 86_400:
        kind = min((CallKind.LIST, CallKind.OFFERS), key=lambda each: pace.wait_s(each, now))
        now += max(pace.wait_s(kind, now), 0.1)
        pace.sent(kind, now)
        parts = []
        for name, (quota, seconds) in quotas.items():
            if counted.get(name) != now // seconds:
                counted[name], used[name] = int(now // seconds), 0
            used[name] += 1
            assert used[name] <= quota - 10, "ten calls of each window are left to ends"
            parts.append(f'"{name}";r={quota - used[name]};t={int(seconds - now % seconds)}')
        pace.answered(kind, 200, {"ratelimit": ", ".join(parts)}, "", now)


def test_a_few_reads_may_follow_one_another_before_they_are_spread() -> None:
    pace = Pace()
    pace.answered(CallKind.LIST, 200, {"ratelimit": '"minute";r=60;t=60'}, "", 0.0)
    waits = []
    for _ in range(6):
        waits.append(pace.wait_s(CallKind.OFFERS, 0.0))
        pace.sent(CallKind.OFFERS, 0.0)
    assert waits == [0.0, 0.0, 0.0, 0.0, 4.0, 8.0]
    assert pace.wait_s(CallKind.LIST, 0.0) == 0.0


def test_a_spacing_that_was_demanded_is_kept_afterwards() -> None:
    pace = Pace({CallKind.BUY: 1.0})
    pace.sent(CallKind.BUY, 0.0)
    pace.answered(CallKind.BUY, 429, {}, "endpoint threshold=4.5", 0.0)
    pace.sent(CallKind.BUY, 10.0)
    pace.answered(CallKind.BUY, 200, {}, "", 10.0)
    assert pace.wait_s(CallKind.BUY, 10.5) == 4.25  # with a margin for calls that arrive sooner
    assert pace.wait_s(CallKind.LIST, 10.5) == 0.0


def test_a_spacing_that_makes_no_sense_is_not_kept_for_ever() -> None:
    pace = Pace()
    for kind in (CallKind.LIST, CallKind.END):
        pace.answered(kind, 429, {}, "endpoint threshold=86400", 0.0)
        pace.sent(kind, 90_000.0)
        pace.answered(kind, 200, {}, "", 90_000.0)
    assert pace.wait_s(CallKind.LIST, 90_000.0) <= 60.25
    assert pace.wait_s(CallKind.END, 90_000.0) <= 30.0
