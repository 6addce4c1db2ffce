"""The real reconciler and ledger on a fake clock and a fake cloud."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from autoscaler.clouds.fake import Fault, Provider
from autoscaler.errors import Draining, UnknownNodeType
from autoscaler.types import Activity, Instance, IntentState, NodeType
from tests.simulation.world import POLICY, TICK_S, World

TYPES = [
    NodeType("gpu", {"GPU": 1}, max_count=2, clouds=("fake",)),
    NodeType("cpu", {"CPU": 1}, max_count=2, clouds=("fake",)),
]


@pytest.fixture
def world() -> Iterator[World]:
    with World(["fake"], TYPES) as world:
        yield world


def test_a_launch_is_bought_once_and_costs_what_the_cloud_bills(world: World) -> None:
    (name,) = world.launch()
    world.tick(30)
    world.reconciler.reports.joined(name)
    world.tick(30)
    assert world.cloud.created == 1
    assert world.state(name) is IntentState.BOUGHT
    world.reconciler.demand.terminate([name], "idle")
    world.tick()
    assert world.machines() == []
    world.tick()
    ended = world.intent(name)
    assert (ended.state, ended.reason) == (IntentState.ENDED, "idle")
    (billed_s,) = world.cloud.billed_s.values()
    assert ended.billed_s(world.now) == pytest.approx(billed_s, abs=TICK_S)
    assert ended.cost_usd(world.now) == pytest.approx(billed_s / 3600 * 0.74, abs=1.001 * TICK_S / 3600 * 0.74)
    assert world.reconciler.demand.nodes() == []


def test_a_purchase_whose_answer_was_lost_is_adopted(world: World) -> None:
    world.cloud.faults.append(Fault.CREATED_BUT_UNKNOWN)
    (name,) = world.launch()
    world.tick()
    assert world.state(name) is IntentState.BUYING
    world.tick(20)
    assert world.state(name) is IntentState.BOUGHT
    assert [m.instance_id for m in world.machines()] == [world.intent(name).instance_id]
    assert world.cloud.created == 1


def test_a_lost_purchase_is_closed_after_the_lag_and_not_doubled(world: World) -> None:
    world.cloud.faults.append(Fault.NOT_CREATED_AND_UNKNOWN)
    (name,) = world.launch()
    world.tick(10)
    assert world.state(name) is IntentState.BUYING
    world.tick(2)
    assert world.state(name) is IntentState.FAILED
    world.tick(20)
    assert world.cloud.created == 0
    assert world.intent(name).cost_usd(world.now) == 0.0


def test_without_capacity_it_waits_and_is_bought_after_the_cool_down(world: World) -> None:
    world.cloud.faults.append(Fault.NO_CAPACITY)
    (name,) = world.launch()
    world.tick()
    assert world.state(name) is IntentState.WANTED
    assert "no longer any instances" in world.intent(name).reason
    world.tick(59)
    assert world.cloud.created == 0
    world.tick(2)
    assert world.cloud.created == 1
    assert world.state(name) is IntentState.BOUGHT


def test_while_the_listing_fails_nothing_is_bought_or_dropped(world: World) -> None:
    (held,) = world.launch()
    world.tick(20)
    world.cloud.faults.extend([Fault.LISTING_FAILS] * 60)
    (waiting,) = world.launch()
    world.tick(60)
    assert world.cloud.created == 1
    assert world.state(held) is IntentState.BOUGHT
    assert world.state(waiting) is IntentState.WANTED
    assert "fake" in world.reconciler.fleet()["degraded"]
    world.tick()
    assert world.cloud.created == 2
    assert world.reconciler.fleet()["degraded"] == {}


def test_what_vanished_out_of_band_is_closed(world: World) -> None:
    (name,) = world.launch()
    world.tick(20)
    world.cloud.vanish(world.machines()[0].instance_id)
    world.tick(2)
    assert world.state(name) is IntentState.ENDED
    assert "vanished" in world.intent(name).reason


@pytest.mark.parametrize("fault", [Fault.TERMINATE_IGNORED, Fault.TERMINATE_FAILS])
def test_a_termination_is_repeated_until_the_machine_is_gone(world: World, fault: Fault) -> None:
    (name,) = world.launch()
    world.tick(20)
    world.cloud.faults.extend([fault] * 5)
    world.reconciler.demand.terminate([name], "idle")
    world.tick(5)
    assert len(world.machines()) == 1
    assert world.state(name) is IntentState.ENDING
    world.tick(2)
    assert world.machines() == []
    assert world.state(name) is IntentState.ENDED


def test_a_failed_machine_is_ended(world: World) -> None:
    (name,) = world.launch()
    world.tick(20)
    world.cloud.fail(world.machines()[0].instance_id)
    world.tick(2)
    assert world.machines() == []
    assert "driver error" in world.intent(name).reason


def test_a_double_is_ended_and_its_launch_stays(world: World) -> None:
    (name,) = world.launch()
    world.tick(20)
    (kept,) = world.machines()
    world.cloud.alive["i-double"] = Instance("fake", "i-double", name, kept.status, world.now, 0.74)
    world.tick(20)
    assert world.machines() == [kept]
    assert world.state(name) is IntentState.BOUGHT


@pytest.mark.parametrize("state", [s for s in IntentState if s not in (IntentState.ENDED, IntentState.FAILED)])
def test_a_restart_goes_on_where_it_was(world: World, state: IntentState) -> None:
    if state is IntentState.BUYING:
        world.cloud.faults.append(Fault.CREATED_BUT_UNKNOWN)
    (name,) = world.launch()
    if state is not IntentState.WANTED:
        world.tick()
    if state is IntentState.ENDING:
        world.reconciler.demand.terminate([name], "idle")
    assert world.state(name) is state
    world.restart()
    world.tick(20)
    assert world.cloud.created == 1
    if state is IntentState.ENDING:
        assert world.machines() == []
        assert world.state(name) is IntentState.ENDED
    else:
        assert [m.name for m in world.machines()] == [name]
        assert world.state(name) is IntentState.BOUGHT


def test_what_vanishes_shortly_before_a_restart_is_billed_to_the_first_list_after_it() -> None:
    """That it was listed is written down: without it, the new process would wait for lists to lag no more."""
    with World(["fake"], TYPES, policy=replace(POLICY, list_lag_s=300.0)) as world:
        (name,) = world.launch()
        world.tick(2)
        (machine,) = world.machines()
        world.reconciler.reports.joined(name)
        world.cloud.vanish(machine.instance_id)
        world.restart()
        world.tick(2)
        assert world.state(name) is IntentState.ENDED
        assert world.intent(name).billed_s(world.now) == pytest.approx(world.cloud.billed_s[machine.instance_id], abs=2)


def test_a_repeated_call_gives_the_same_names(world: World) -> None:
    names = world.launch(2, call_id="c-1")
    assert world.launch(2, call_id="c-1") == names
    world.tick()
    world.restart()
    assert world.launch(2, call_id="c-1") == names
    assert world.launch(1, call_id="c-2")[0] not in names
    assert world.reconciler.demand.nodes()[0].tags["ray"] == "tag"


def test_a_call_repeated_after_its_failure_is_served(world: World) -> None:
    world.cloud.faults.append(Fault.NOT_CREATED_AND_UNKNOWN)
    names = world.launch(call_id="c-1")
    world.tick(20)
    assert world.state(names[0]) is IntentState.FAILED
    assert world.launch(call_id="c-1") != names
    world.tick()
    assert world.cloud.created == 1


def test_a_broken_machines_offer_rests(world: World) -> None:
    world.launch()
    world.tick(20)
    world.cloud.fail(world.machines()[0].instance_id)
    world.tick(2)
    world.launch()
    world.tick(57)
    assert world.cloud.created == 1
    world.tick(3)
    assert world.cloud.created == 2


def test_a_node_busy_with_nothing_is_ended_while_ray_reports_it(world: World) -> None:
    (name,) = world.launch()
    world.tick(5)
    world.reconciler.reports.joined(name)
    for _ in range(200):
        world.reconciler.activities.observe({name: Activity(True, ("GPU in use",))})
        world.tick()
    world.reconciler.activities.observe({name: Activity(False, ("a forgotten object",))})
    world.tick(200)  # Ray is down and reports nothing: unknown is not unused
    assert world.state(name) is IntentState.BOUGHT
    for _ in range(3):
        world.reconciler.activities.observe({name: Activity(False, ("a forgotten object",))})
        world.tick()
    assert world.machines() == []
    assert "a forgotten object" in world.intent(name).reason


def test_the_fleet_names_what_a_node_is_busy_with(world: World) -> None:
    (name,) = world.launch()
    world.tick(5)
    world.reconciler.reports.joined(name)
    world.reconciler.activities.observe({name: Activity(True, ("Resource: GPU currently in use.",))})
    (view,) = world.reconciler.fleet()["instances"]
    assert view["phase"] == "a Ray node: GPU in use"


def test_boots_seen_here_count_more_than_the_clouds_promise(world: World) -> None:
    (first,) = world.launch()
    world.tick(45)
    world.reconciler.reports.joined(first)
    (second,) = world.launch()
    world.tick()
    assert world.intent(second).usual_boot_s == 45.0


class Broken(Provider):
    """A cloud whose client has a defect."""

    async def list_instances(self) -> list[Instance]:
        raise KeyError("pods")


def test_a_defect_in_one_clouds_client_does_not_stop_the_others(world: World) -> None:
    types = [NodeType("gpu", {"GPU": 1}, max_count=2, clouds=("broken", "fake"))]
    clouds = {"broken": Broken(clock=lambda: world.now, name="broken"), "fake": world.cloud}
    world.use(clouds, types)
    world.launch()
    world.tick(2)
    assert world.cloud.created == 1
    assert "pods" in world.reconciler.fleet()["degraded"]["broken"]


def test_one_termination_that_fails_does_not_stop_the_others(world: World) -> None:
    names = world.launch(2)
    world.tick(20)
    world.reconciler.demand.terminate(names, "idle")
    world.cloud.faults.append(Fault.TERMINATE_FAILS)
    world.tick()
    assert len(world.machines()) == 1
    world.tick()
    assert world.machines() == []


def test_an_unknown_node_type_is_refused(world: World) -> None:
    with pytest.raises(UnknownNodeType):
        world.launch(node_type="tpu")


@pytest.mark.parametrize("fault", [Fault.CREATED_BUT_UNKNOWN, Fault.NOT_CREATED_AND_UNKNOWN])
def test_given_up_while_the_outcome_is_unknown_it_is_ended(world: World, fault: Fault) -> None:
    world.cloud.list_lag_s = 5.0
    world.cloud.faults.append(fault)
    (name,) = world.launch()
    world.tick()
    world.reconciler.demand.terminate([name], "idle")
    world.tick(20)
    assert world.machines() == []
    assert world.state(name) is IntentState.ENDED


def test_given_up_before_the_cloud_lists_it_the_machine_is_not_forgotten(world: World) -> None:
    world.cloud.list_lag_s = 5.0
    (name,) = world.launch()
    world.tick()
    world.reconciler.demand.terminate([name], "idle")
    world.tick(3)
    assert world.state(name) is IntentState.ENDING
    world.tick(20)
    assert world.machines() == []
    assert world.intent(name).reason == "idle"
    (billed_s,) = world.cloud.billed_s.values()
    assert billed_s <= world.intent(name).billed_s(world.now) <= POLICY.list_lag_s + TICK_S


def test_drain_ends_everything(world: World) -> None:
    world.launch(2)
    world.tick(20)
    world.launch(1)
    world.drain()
    assert world.machines() == []
    assert world.ledger.live() == []
    with pytest.raises(Draining):
        world.launch()


def test_a_machine_that_lives_is_shown_however_many_were_wanted_after_it(world: World) -> None:
    (old,) = world.launch()
    world.tick(2)
    for _ in range(101):
        world.reconciler.demand.terminate(world.launch(), "no more work")
    world.tick(2)
    shown = world.reconciler.fleet()["instances"]
    assert [(i["name"], i["state"]) for i in shown if i["state"] != "ended"] == [(old, "bought")]
