"""How long clouds want to be left alone."""

import pytest

from autoscaler.clouds.rate_limits import Pace, retry_after_s, spread_s, threshold_s

THREE = '"minute";r=0;t=12, "hour";r=0;t=1812, "day";r=49500;t=45012'


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after": "12"}, "", 12),
        ({"retry-after": "12", "ratelimit": THREE}, "", 1812),
        ({"retry-after": "4000", "ratelimit": THREE}, "", 4000),
        ({"retry-after": "99999999999"}, "", 86_400),
        ({"retry-after": "soon"}, "<html>", 5),
        ({}, "API requests too frequent endpoint threshold=4.5", 4.5),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT", "date": "Wed, 25 Nov 2026 12:00:00 GMT"}, "", 30),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, "", 5),
    ],
)
def test_a_refusal_is_waited_out_by_its_longest_demand(headers: dict[str, str], text: str, seconds: float) -> None:
    assert retry_after_s(headers, text) == seconds


def test_only_a_text_with_a_threshold_has_one() -> None:
    assert threshold_s("endpoint threshold=3.0") == 3.0
    assert threshold_s("too frequent") is None


def test_reads_are_spread_so_that_no_window_is_used_up() -> None:
    header = '"minute";r=59;t=60, "hour";r=2999;t=3600, "day";r=49999;t=86400'
    assert spread_s(header) == pytest.approx(86_400 / 49_989)
    assert spread_s("") == 0.0


def test_at_the_pace_of_reads_a_whole_day_stays_within_all_windows() -> None:
    """A fixed-window server that counts, and a client that asks without end."""
    pace, now, used = Pace(), 0.0, {"minute": 0, "hour": 0, "day": 0}
    quotas = {"minute": (60, 60), "hour": (3000, 3600), "day": (50_000, 86_400)}
    counted: dict[str, int] = {}
    while now < 86_400:
        now += max(pace.wait_s("", reads=True, now=now), 0.1)
        pace.sent("", reads=True, now=now)
        parts = []
        for name, (quota, seconds) in quotas.items():
            if counted.get(name) != now // seconds:
                counted[name], used[name] = int(now // seconds), 0
            used[name] += 1
            assert used[name] <= quota
            parts.append(f'"{name}";r={quota - used[name]};t={int(seconds - now % seconds)}')
        pace.answered("", 200, {"ratelimit": ", ".join(parts)}, "", now)


def test_purchases_do_not_wait_for_the_pace_of_reads() -> None:
    pace = Pace()
    pace.sent("", reads=True, now=0.0)
    pace.answered("", 200, {"ratelimit": '"minute";r=11;t=60'}, "", 0.0)
    assert pace.wait_s("", reads=True, now=1.0) == 59.0
    assert pace.wait_s("", reads=False, now=1.0) == 0.0


def test_an_empty_window_stops_everything_until_it_is_over() -> None:
    pace = Pace()
    pace.answered("", 200, {"ratelimit": THREE}, "", 100.0)
    assert pace.wait_s("", reads=False, now=112.0) == 1800.0
    assert pace.wait_s("", reads=False, now=1912.0) == 0.0


def test_a_spacing_that_was_demanded_is_kept_afterwards() -> None:
    pace = Pace({"rent": 1.0})
    pace.sent("rent", reads=False, now=0.0)
    pace.answered("rent", 429, {}, "endpoint threshold=4.5", 0.0)
    pace.sent("rent", reads=False, now=10.0)
    assert pace.wait_s("rent", reads=False, now=10.5) == 4.25  # with a margin for calls that arrive sooner
    assert pace.wait_s("list", reads=False, now=10.5) == 0.0
