"""What is left alone for a while."""

from dataclasses import replace

import pytest

from autoscaler.decisions.quarantine import Breaker, Holds
from autoscaler.types import Intent, IntentState, Offer, Trust

OFFER = Offer("red", "o-1", "L4", 1.0, 30.0, "EU", Trust.COMMUNITY, machine_id="m-1")


def test_an_offer_rests_until_its_time_and_says_why() -> None:
    holds = Holds()
    assert holds.rest(("red", "o-1"), None, 100.0, 60.0, "red had none") == 60.0
    assert holds.offer(OFFER, 159.0) == "not used for another 1 s: red had none"
    assert holds.offer(OFFER, 160.0) == ""
    assert holds.offer(replace(OFFER, cloud="blue"), 101.0) == ""


def test_a_broken_machine_rests_under_every_offer() -> None:
    holds = Holds()
    holds.rest(("red", "o-1"), "m-1", 100.0, 60.0, "driver error")
    assert "driver error" in holds.offer(replace(OFFER, offer_id="o-2"), 101.0)
    assert holds.offer(replace(OFFER, offer_id="o-2", machine_id="m-2"), 101.0) == ""


def test_what_fails_again_rests_twice_as_long_and_is_forgiven_in_time() -> None:
    holds, now = Holds(), 0.0
    rests = []
    for _ in range(8):
        rests.append(holds.rest(("red", "o-1"), None, now, 60.0, "again"))
        now += rests[-1] + 1
    assert rests == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert holds.rest(("red", "o-1"), None, now + 1e6, 60.0, "again") == 60.0


def test_a_cloud_on_hold_keeps_the_longest_hold() -> None:
    holds = Holds()
    holds.stop("red", 0.0, 300.0, "no balance")
    holds.stop("red", 10.0, 5.0, "a short pause")
    assert holds.cloud("red", 299.0).startswith("not used for another 1 s")
    assert holds.cloud("red", 300.0) == ""
    assert holds.cloud("blue", 1.0) == ""
    assert [hold["what"] for hold in holds.view(1.0)] == ["cloud red"]


def launches(pattern: str) -> list[Intent]:
    """b: never joined; j: joined; g: given up by Ray before it joined. One ends every 10 s."""
    over = []
    for number, kind in enumerate(pattern):
        ended = Intent(f"x{number}", "gpu", IntentState.ENDED, 0.0, ended_at=10.0 * number, reason="too slow")
        over.append(replace(ended, joined_at=5.0 if kind == "j" else None, broken=kind == "b"))
    return over


@pytest.mark.parametrize(
    ("pattern", "until"),
    [
        ("", None),
        ("bb", None),
        ("bbj", None),
        ("bbjbb", None),
        ("bbb", 20.0 + 120),
        ("jbgbgb", 50.0 + 120),
        ("bbbb", 30.0 + 240),
        ("b" * 20, 190.0 + 1800),
    ],
)
def test_the_breaker_trips_after_three_in_a_row_that_never_joined(pattern: str, until: float | None) -> None:
    hold = Breaker().trip(launches(pattern))
    assert (hold.until if hold else None) == until
    if hold:
        assert "too slow" in hold.reason
