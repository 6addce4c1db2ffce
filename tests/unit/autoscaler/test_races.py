"""Which of two candidates Ray sees."""

from dataclasses import replace

import pytest

from autoscaler.decisions.races import pair, visible
from autoscaler.types import Intent, IntentState

FIRST = Intent("first", "gpu", IntentState.BOUGHT, 0.0)
SECOND = Intent("second", "gpu", IntentState.BOUGHT, 0.0, rival_of="first")
ALONE = Intent("alone", "gpu", IntentState.BOUGHT, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ({}, {}, "first"),
        ({}, {"joined_at": 5.0}, "second"),
        ({"joined_at": 5.0}, {"joined_at": 4.0}, "first"),
        ({"state": IntentState.ENDING}, {}, "second"),
        ({"state": IntentState.ENDING, "joined_at": 5.0}, {"state": IntentState.ENDING}, "first"),
        ({"state": IntentState.ENDING}, {"state": IntentState.ENDING}, "first"),
    ],
)
def test_ray_sees_one_of_two(first: dict[str, object], second: dict[str, object], shown: str) -> None:
    live = [replace(FIRST, **first), ALONE, replace(SECOND, **second)]  # type: ignore[arg-type]
    assert [i.name for i in visible(live)] == [shown, "alone"]


def test_the_last_of_two_is_seen() -> None:
    assert visible([SECOND]) == [SECOND]
    assert visible([FIRST]) == [FIRST]


def test_a_pair_is_found_from_both_sides() -> None:
    live = [FIRST, ALONE, SECOND]
    assert pair(live, "first") == pair(live, "second") == [FIRST, SECOND]
    assert pair(live, "alone") == [ALONE]
    assert pair(live, "nobody") == []
