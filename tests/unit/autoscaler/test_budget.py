"""What may be bought and what must stop, by money."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from autoscaler.decisions.budget import (
    ALL,
    Budget,
    Budgets,
    Spending,
    burn_usd_per_hour,
    day_start,
    drains,
    month_start,
    overspent,
    refusal,
    spendings,
    too_many,
    warnings,
)
from autoscaler.types import DRAINING, Instance, InstanceStatus, Intent, IntentState


def unix(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]


def instance(name: str, price: float = 1.0, status: InstanceStatus = InstanceStatus.RUNNING) -> Instance:
    return Instance("red", f"i-{name}", name, status, 0.0, price)


def intent(name: str, state: IntentState, **values: Any) -> Intent:
    bought = Intent(name, "gpu", state, 0.0, cloud="red", price_usd_per_hour=1.0)
    return replace(bought, **values)


@pytest.mark.parametrize(
    ("limits", "spent", "allowed"),
    [
        ({}, Spending(99, 99, 99), True),
        ({"per_hour_usd": 2}, Spending(burn_usd_per_hour=1), True),
        ({"per_hour_usd": 2}, Spending(burn_usd_per_hour=1.01), False),
        ({"per_hour_usd": 0}, Spending(), False),
        # a machine at 1 USD/h is taken to run for 10 minutes at least: 0.1667 USD
        ({"per_day_usd": 10}, Spending(day_usd=9.83), True),
        ({"per_day_usd": 10}, Spending(day_usd=9.84), False),
        ({"per_day_usd": 10}, Spending(burn_usd_per_hour=3, day_usd=9.4), False),
        ({"per_month_usd": 10}, Spending(month_usd=9.83), True),
        ({"per_month_usd": 10}, Spending(month_usd=9.84), False),
    ],
)
def test_a_purchase_must_fit_every_window(limits: dict[str, float], spent: Spending, allowed: bool) -> None:
    why = refusal(Budgets(Budget(**limits)), {ALL: spent}, "red", 1.0)  # type: ignore[arg-type]
    assert (why == "") == allowed
    if not allowed:
        (name,) = limits
        assert f"{limits[name]} USD per {name.split('_')[1]} for all clouds" in why


def test_a_cloud_of_its_own_limit_stops_alone() -> None:
    budgets = Budgets(Budget(per_hour_usd=5), {"red": Budget(per_hour_usd=1)})
    spent = spendings({"red": 0.5}, {}, {})
    assert "for red" in refusal(budgets, spent, "red", 1.0)
    assert refusal(budgets, spent, "blue", 1.0) == ""
    assert "for all clouds" in refusal(budgets, spent, "blue", 4.6)


def test_soft_limits_warn() -> None:
    budgets = Budgets(Budget(per_day_usd=10, per_month_usd=100, warn_at=0.8))
    assert warnings(budgets, {ALL: Spending(day_usd=7.9, month_usd=79)}) == []
    assert warnings(budgets, {ALL: Spending(day_usd=8, month_usd=79)}) == [
        "8.00 of the 10 USD per day for all clouds are used; at a limit nothing more is bought, work in flight may end"
        " within it, and what runs beyond it is ended"
    ]
    gate = Budgets(Budget(per_day_usd=10, drain=False))
    assert "what runs goes on and costs more" in warnings(gate, {ALL: Spending(day_usd=8)})[0]
    assert warnings(Budgets(Budget(per_hour_usd=0)), {}) == []


def test_a_day_that_is_used_up_ends_what_runs_unless_limits_are_gates_only() -> None:
    spent = spendings({"red": 6.0}, {"red": 9.9}, {"red": 9.9})
    assert list(drains(Budgets(Budget(per_day_usd=10)), spent)) == [ALL]
    assert drains(Budgets(Budget(per_day_usd=10, drain=False)), spent) == {}
    only_red = Budgets(Budget(), {"red": Budget(per_month_usd=10), "blue": Budget(per_day_usd=0)})
    assert list(drains(only_red, spent)) == ["red"]
    assert drains(Budgets(Budget(per_day_usd=10.3)), spent) == {}
    assert list(drains(Budgets(Budget(per_day_usd=10.1)), spent)) == [ALL], "its last work is paid, too"


@pytest.mark.parametrize("window", ["day", "month"])
def test_what_runs_beyond_a_limit_ends_at_once(window: str) -> None:
    budgets, gate = (Budgets(Budget(**{f"per_{window}_usd": 10, "drain": drain})) for drain in (True, False))  # type: ignore[arg-type]
    assert overspent(budgets, spendings({"red": 6.0}, {"red": 9.99}, {"red": 9.99})) == {}
    beyond = spendings({"red": 6.0}, {"red": 10.0}, {"red": 10.0})
    assert overspent(budgets, beyond) == {ALL: f"the budget of 10 USD per {window} for all clouds is spent"}
    assert overspent(gate, beyond) == {}
    assert overspent(budgets, spendings({}, {"red": 10.0}, {"red": 10.0})) == {}, "nothing runs"
    assert list(overspent(Budgets(Budget(), {"red": budgets.total, "blue": budgets.total}), beyond)) == ["red"]


def test_an_hour_that_is_exceeded_ends_the_newest_machines_and_no_more_than_it_takes() -> None:
    machines = [
        intent("old", IntentState.BOUGHT, bought_at=1.0, joined_at=9.0),
        intent("new", IntentState.BOUGHT, bought_at=2.0, joined_at=9.0),
        intent("boots", IntentState.BOUGHT, bought_at=1.5),
        intent("buying", IntentState.BUYING),
        intent("leaves", IntentState.BOUGHT, bought_at=3.0, joined_at=9.0, phases={DRAINING: 9.0}),
        intent("ends", IntentState.ENDING),
        intent("dear", IntentState.BOUGHT, bought_at=0.5, joined_at=9.0, accepted_usd_per_hour=2.0),
    ]
    assert too_many(Budgets(Budget(per_hour_usd=6)), machines) == {}
    assert list(too_many(Budgets(Budget(per_hour_usd=5.9)), machines)) == [], "within the tolerance of a price"
    assert list(too_many(Budgets(Budget(per_hour_usd=5)), machines)) == ["boots"]
    assert list(too_many(Budgets(Budget(per_hour_usd=4)), machines)) == ["boots", "new"]
    assert list(too_many(Budgets(Budget(per_hour_usd=0)), machines)) == ["boots", "new", "old", "dear"]
    assert too_many(Budgets(Budget(per_hour_usd=0, drain=False)), machines) == {}
    own = Budgets(Budget(per_hour_usd=5), {"red": Budget(per_hour_usd=4), "blue": Budget(per_hour_usd=0)})
    assert set(too_many(own, machines)) == {"boots", "new"}


def test_nothing_is_bought_that_would_drain_at_once() -> None:
    patient = Budget(per_day_usd=10, ending_s=3600.0)
    assert refusal(Budgets(patient), {ALL: Spending(day_usd=8.1)}, "red", 1.0)
    assert refusal(Budgets(patient), {ALL: Spending(day_usd=7.9)}, "red", 1.0) == ""
    bought = spendings({"red": 1.0}, {"red": 7.9}, {"red": 7.9})
    assert drains(Budgets(patient), bought) == {}
    assert refusal(Budgets(replace(patient, drain=False)), {ALL: Spending(day_usd=9.8)}, "red", 1.0) == ""


def test_burning_is_all_that_is_or_may_be_billed() -> None:
    listed = {"red": [instance("a", 2.0), instance("stray", 0.5, InstanceStatus.TERMINATING)]}
    intents = [
        intent("a", IntentState.BOUGHT, price_usd_per_hour=9.0),  # dearer than it is listed
        intent("unknown", IntentState.BUYING),
        intent("ending", IntentState.ENDING),
        intent("over", IntentState.ENDED),
        intent("wanted", IntentState.WANTED, cloud=None, price_usd_per_hour=None),
        intent("elsewhere", IntentState.BOUGHT, cloud="blue", price_usd_per_hour=0.25),
    ]
    assert burn_usd_per_hour(intents, listed) == {"red": 11.5, "blue": 0.25}


def test_doubles_of_one_name_are_billed_twice() -> None:
    twice = [instance("a"), Instance("red", "i-double", "a", InstanceStatus.RUNNING, 0.0, 1.0)]
    assert burn_usd_per_hour([intent("a", IntentState.BOUGHT)], {"red": twice}) == {"red": 2.0}


def test_windows_begin_at_midnight_and_on_the_first_in_utc() -> None:
    now = unix(2026, 2, 28, 23, 59, 59)
    assert day_start(now) == unix(2026, 2, 28)
    assert month_start(now) == unix(2026, 2, 1)
    assert month_start(unix(2026, 3, 1)) == unix(2026, 3, 1)
