"""Machines end although no list is known, their end is refused, Ray is of no help, or the clock is wrong."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from autoscaler.clouds.fake import Fault, Provider
from autoscaler.types import Activity, Instance, IntentState, LaunchRequest, NodeType
from tests.simulation.world import PACE, POLICY, World

TYPES = [NodeType("gpu", {"GPU": 1}, max_count=4, clouds=("fake",))]


@pytest.fixture
def world() -> Iterator[World]:
    with World(["fake"], TYPES) as world:
        yield world


def joined(world: World) -> str:
    (name,) = world.launch()
    world.tick(3)
    world.reconciler.reports.joined(name)
    return name


@pytest.mark.parametrize("fault", [Fault.LISTING_FAILS, Fault.LISTING_PAUSED, Fault.KEY_REFUSED])
def test_a_known_id_is_ended_while_the_list_is_unknown(world: World, fault: Fault) -> None:
    name = joined(world)
    world.cloud.faults.extend([fault] * 100)
    world.tick(2)
    world.reconciler.demand.terminate([name], "idle")
    world.tick()
    assert world.machines() == []


@pytest.mark.parametrize("fault", [Fault.LISTING_FAILS, Fault.LISTING_PAUSED])
def test_a_machine_that_does_not_join_is_ended_while_the_list_is_unknown(world: World, fault: Fault) -> None:
    world.launch()
    world.tick(2)
    world.cloud.faults.extend([fault] * 1000)
    world.tick(int(POLICY.join_timeout_s) + 5)
    assert world.machines() == []


def test_attempts_to_end_without_a_list_are_paced(world: World) -> None:
    name = joined(world)
    world.cloud.faults.extend([Fault.LISTING_PAUSED] * 10 + [Fault.TERMINATE_RATE_LIMITED] * 1000)
    world.tick(2)
    world.reconciler.demand.terminate([name], "idle")
    world.tick(300)
    assert 10 <= world.cloud.calls["terminate"] <= 20, "at least every half a minute, and not with every round"


def test_a_machine_that_cannot_be_ended_through_its_cloud_is_told_to_end_itself() -> None:
    told: list[tuple[str, str]] = []

    def tell(name: str, reason: str) -> bool:
        told.append((name, reason))
        for machine in cluster.machines():
            cluster.cloud.vanish(machine.instance_id)
        return True

    with World(["fake"], TYPES, tell=tell) as cluster:
        name = joined(cluster)
        cluster.cloud.faults.extend([Fault.TERMINATE_REFUSED] * 1000)
        cluster.reconciler.demand.terminate([name], "idle")
        cluster.tick(int(PACE.self_end_after_s) - 2)
        assert told == []
        cluster.tick(30)
        assert told == [(name, "idle")]
        assert cluster.state(name) is IntentState.ENDED
        assert "told to end itself" in cluster.events()


def test_an_end_that_raises_once_while_the_machine_goes_is_closed(world: World) -> None:
    name = joined(world)
    world.cloud.faults.append(Fault.TERMINATE_RAISES_ONCE_DONE)
    world.reconciler.demand.terminate([name], "idle")
    world.tick(30)
    assert world.machines() == []
    assert world.state(name) is IntentState.ENDED


def test_idle_nodes_end_though_rays_autoscaler_swallows_the_error_and_asks_no_more(world: World) -> None:
    name = joined(world)
    for _ in range(int(POLICY.unused_limit_s) + 5):
        world.reconciler.activities.observe({name: Activity(False)})
        world.tick()
    assert world.machines() == []


def test_a_node_that_never_rejoined_a_restarted_head_is_ended(world: World) -> None:
    lost, other = joined(world), joined(world)
    for _ in range(int(POLICY.unreported_limit_s) + 30):
        world.reconciler.activities.observe({other: Activity(True)})
        world.tick()
    assert [machine.name for machine in world.machines()] == [other]
    assert "Ray says nothing of it" in world.intent(lost).reason


def test_while_rays_head_restarts_no_node_is_ended_and_then_each_has_time_to_come_back(world: World) -> None:
    name = joined(world)
    world.reconciler.activities.observe({name: Activity(True)})
    world.tick(300)
    for _ in range(60):
        world.reconciler.activities.observe({})
        world.tick()
    world.reconciler.activities.observe({name: Activity(True)})
    world.tick(5)
    assert [machine.name for machine in world.machines()] == [name]


def test_a_ray_that_says_nothing_of_any_node_keeps_none_for_ever() -> None:
    with World(["fake"], TYPES, policy=replace(POLICY, silent_limit_s=900.0)) as world:
        joined(world)
        world.tick(880)
        assert len(world.machines()) == 1
        world.tick(60)
        assert world.machines() == []


class Stubborn(Provider):
    """Its purchases take for ever, whatever is cancelled, and happen."""

    async def create_instance(self, request: LaunchRequest) -> Instance:
        instance = await super().create_instance(request)
        while self.stubborn:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue
        return instance

    stubborn = True


def test_what_is_cancelled_while_its_purchase_is_under_way_ends_in_bounded_time() -> None:
    with World(["fake"], TYPES, pace=replace(PACE, purchase_timeout_s=5.0)) as world:
        cloud = Stubborn(clock=world.clock, name="fake")
        world.clouds = {"fake": cloud}
        world.use(world.clouds, TYPES)
        world.flow()
        (name,) = world.launch()
        world.tick()
        world.reconciler.demand.terminate([name], "it was cancelled")
        world.tick(60)
        assert world.machines() == []
        assert world.reconciler.demand.find(name) is None
        cloud.stubborn = False


def test_by_a_clock_that_is_not_set_nothing_is_bought_and_budgets_are_right_afterwards() -> None:
    unset = ["the clock has not been set"]
    with World(["fake"], TYPES, forbids=lambda: "".join(unset)) as cluster:
        cluster.now = 100.0
        (name,) = cluster.launch()
        cluster.tick(20)
        waiting = cluster.intent(name)
        assert (waiting.state, cluster.cloud.created) == (IntentState.WANTED, 0)
        assert "clock" in waiting.reason
        cluster.now = 1_800_000_000.0
        unset.clear()
        cluster.tick(30)
        assert cluster.state(name) is IntentState.BOUGHT
        assert cluster.reconciler.spendings()["fake"].month_usd < 0.1
