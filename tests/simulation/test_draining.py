"""A budget that is used up ends what runs: after its work, within a bound, and within the limit."""

from collections.abc import Iterator

import pytest

from autoscaler.decisions.budget import Budget, Budgets
from autoscaler.types import DRAINING, Activity, IntentState, NodeType
from tests.simulation.world import POLICY, World

LIMIT_USD = 1.0
TYPES = [NodeType("gpu", {"GPU": 1}, max_count=2, clouds=("fake",))]
WORKS, IDLE = Activity(in_use=True), Activity(in_use=False)


@pytest.fixture
def world() -> Iterator[World]:
    with World(["fake"], TYPES, budgets=Budgets(Budget(per_day_usd=LIMIT_USD))) as world:
        yield world


def work_until_it_drains(world: World) -> str:
    """A machine that has work without an end; returns its name once it is to take no more."""
    (name,) = world.launch()
    world.tick()
    world.reconciler.reports.joined(name)
    while DRAINING not in world.intent(name).phases:
        assert world.now < 1_000_000.0 + 6000, "it was never told"
        world.reconciler.activities.observe({name: WORKS})
        world.tick(advance_s=5.0)
    return name


def test_work_that_ends_in_time_is_not_cut_off(world: World) -> None:
    name = work_until_it_drains(world)
    assert world.state(name) is IntentState.BOUGHT
    world.reconciler.activities.observe({name: WORKS})
    world.tick(50)
    assert len(world.machines()) == 1
    world.reconciler.activities.observe({name: IDLE})
    world.tick(3)
    assert world.machines() == []
    ended = world.intent(name)
    assert ended.state is IntentState.ENDED
    assert ended.reason == f"the budget of {LIMIT_USD:g} USD per day for all clouds is used up"
    assert 0.9 * LIMIT_USD < world.cloud.bill_usd() <= LIMIT_USD


def test_work_without_an_end_is_cut_off_at_the_bound_and_within_the_limit(world: World) -> None:
    name = work_until_it_drains(world)
    told_at = world.intent(name).phases[DRAINING]
    while world.machines():
        assert world.now - told_at < POLICY.drain_s + 10
        world.reconciler.activities.observe({name: WORKS})
        world.tick()
    assert world.now - told_at >= POLICY.drain_s
    world.tick(2)
    assert "its work was not over 120 s later" in world.intent(name).reason
    assert world.cloud.bill_usd() <= LIMIT_USD


def test_a_restart_in_between_and_a_new_day_change_neither_the_bound_nor_the_end(world: World) -> None:
    name = work_until_it_drains(world)
    told_at = world.intent(name).phases[DRAINING]
    world.restart()
    world.now = told_at - told_at % 86_400 + 86_400  # the next day's budget is untouched
    world.tick(3)
    assert world.state(name) is IntentState.ENDED
    (other,) = world.launch()
    world.tick(3)
    assert world.state(other) is IntentState.BOUGHT


@pytest.mark.parametrize("skew_s", [-300.0, 300.0])
def test_a_cloud_whose_clock_is_off_ends_no_machine_early_and_changes_no_bill(skew_s: float) -> None:
    with World(["fake"], TYPES) as world:
        world.cloud.skew_s = skew_s
        (name,) = world.launch()
        world.tick(int(POLICY.join_timeout_s) - 5)
        assert world.state(name) is IntentState.BOUGHT
        world.reconciler.reports.joined(name)
        world.tick(60)
        assert len(world.machines()) == 1
        world.reconciler.demand.terminate([name], "idle")
        world.tick(3)
        (billed_s,) = world.cloud.billed_s.values()
        assert world.intent(name).billed_s(world.now) == pytest.approx(billed_s, abs=2.5)


def bought(world: World, number: int) -> list[str]:
    """So many machines that have joined and work, each bought later than the one before."""
    names = []
    for _ in range(number):
        names += world.launch()
        world.tick(2)
        world.reconciler.reports.joined(names[-1])
    world.reconciler.activities.observe(dict.fromkeys(names, WORKS))
    return names


def keep_working(world: World, names: list[str], seconds: int) -> None:
    for _ in range(seconds):
        world.reconciler.activities.observe(dict.fromkeys(names, WORKS))
        world.tick()


@pytest.mark.parametrize("window", ["per_day_usd", "per_month_usd"])
def test_what_runs_beyond_a_limit_is_ended_at_once(window: str) -> None:
    """A limit that was lowered below what is spent already: there is nothing left within which work could end."""
    with World(["fake"], TYPES) as world:
        names = bought(world, 2)
        keep_working(world, names, 60)
        limit = Budget(**{window: world.cloud.bill_usd() / 2})  # type: ignore[arg-type]
        world.options |= {"budgets": Budgets(limit)}
        world.restart()
        keep_working(world, names, 3)
        assert world.machines() == []
        keep_working(world, names, 3)
        assert "for all clouds is spent" in world.intent(names[0]).reason
        world.launch()
        world.tick(30)
        assert world.machines() == []


@pytest.mark.parametrize("window", ["per_day_usd", "per_month_usd"])
def test_limits_that_are_gates_only_end_nothing(window: str) -> None:
    with World(["fake"], TYPES, budgets=Budgets(Budget(**{window: 0.2, "drain": False}))) as world:  # type: ignore[arg-type]
        names = bought(world, 1)
        keep_working(world, names, 1200)
        assert world.cloud.bill_usd() > 0.2
        assert len(world.machines()) == 1


def test_an_hour_that_is_exceeded_by_a_lower_limit_ends_the_newest_machine_after_its_work() -> None:
    with World(["fake"], TYPES) as world:
        old, new = bought(world, 2)
        world.options |= {"budgets": Budgets(Budget(per_hour_usd=1.0))}
        world.restart()
        keep_working(world, [old, new], 5)
        assert DRAINING in world.intent(new).phases
        assert DRAINING not in world.intent(old).phases
        keep_working(world, [old, new], int(POLICY.drain_s) + 5)
        assert [machine.name for machine in world.machines()] == [old]
        assert "cost more than 1 USD per hour" in world.intent(new).reason
        keep_working(world, [old], 600)
        assert [machine.name for machine in world.machines()] == [old]


def test_a_machine_that_costs_nothing_is_ended_by_no_limit() -> None:
    with World(["fake"], TYPES, budgets=Budgets(Budget(per_day_usd=0.0, per_hour_usd=0.0))) as world:
        world.cloud.price_usd_per_hour = 0.0
        names = bought(world, 2)
        keep_working(world, names, 600)
        assert len(world.machines()) == 2
