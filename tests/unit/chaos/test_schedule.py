"""The schedule of a chaos run is a pure function of its seed."""

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.schedule import Habit, bearable, plan

HABITS = {
    "kill": Habit(),
    "lock": Habit((2.0, 8.0), rest_s=60.0),
    "fail": Habit((3.0, 3.0), group="clouds"),
    "fail worse": Habit(group="clouds"),
}


def test_the_same_seed_is_the_same_storm_and_another_is_another() -> None:
    assert plan(7, 300, HABITS) == plan(7, 300, HABITS)
    assert plan(7, 300, HABITS) != plan(8, 300, HABITS)


def test_strikes_come_in_order_within_the_time_and_last_within_their_bounds() -> None:
    strikes = plan(3, 600, HABITS, pause_s=(4.0, 9.0))
    times = [strike.at_s for strike in strikes]
    assert all(later - earlier >= 3.9 for earlier, later in pairwise(times))
    assert times[-1] < 600
    assert len(strikes) > 30
    for strike in strikes:
        least, most = HABITS[strike.kind].lasts_s
        assert min(least, 600 - strike.at_s) - 0.01 <= strike.lasts_s <= most
        assert strike.at_s + strike.lasts_s <= 600.01


def test_groups_take_turns_and_a_kind_that_rests_waits() -> None:
    strikes = plan(11, 900, HABITS)
    groups = Counter(HABITS[strike.kind].group for strike in strikes)
    assert abs(groups["machines"] - groups["clouds"]) <= 1
    locks = [strike for strike in strikes if strike.kind == "lock"]
    for earlier, later in pairwise(locks):
        assert later.at_s >= earlier.at_s + earlier.lasts_s + 60 - 0.02


def test_every_kind_of_a_group_comes_before_any_comes_again() -> None:
    habits = {str(number): Habit() for number in range(10)}
    kinds = [strike.kind for strike in plan(5, 1000, habits)]
    assert len(kinds) > 40
    for start in range(0, len(kinds) - 10, 10):
        assert len(set(kinds[start : start + 10])) == 10


def test_only_one_cloud_is_stopped() -> None:
    habits = {f"{cloud} {n}": Habit(stops=cloud) for cloud in ("a", "b") for n in range(3)} | {"kill": Habit()}
    kept = [set(bearable(seed, habits)) for seed in range(20)]
    assert {frozenset(k) for k in kept} == {
        frozenset({"kill", "a 0", "a 1", "a 2"}),
        frozenset({"kill", "b 0", "b 1", "b 2"}),
    }


def test_a_storm_without_faults_is_refused() -> None:
    with pytest.raises(ValueError, match="habits"):
        plan(1, 60, {})
