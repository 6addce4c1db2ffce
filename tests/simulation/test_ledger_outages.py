"""A ledger that cannot be written or read: buying stops, ending does not, and nothing is lost when it is back."""

from collections.abc import Iterator

import pytest

from autoscaler.errors import LedgerUnavailable
from autoscaler.types import Instance, InstanceStatus, IntentState, NodeType
from tests.simulation.world import World

TYPES = [NodeType("gpu", {"GPU": 1}, max_count=4, clouds=("fake",))]
UNWRITABLE = ("read-only", "full", "locked", "gone")


@pytest.fixture
def world() -> Iterator[World]:
    with World(["fake"], TYPES) as world:
        yield world


def fill(world: World) -> None:
    """Enough events that a full database has no room left in its last page."""
    for number in range(200):
        world.reconciler.reports.note(f"filler {number}", f"{number} " + "x" * 400)


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_a_ledger_that_cannot_be_written_stops_no_termination(world: World, kind: str) -> None:
    given_up, _kept = world.launch(2)
    world.tick(2)
    with world.ledger_faults.struck(kind):
        fill(world)
        world.reconciler.demand.terminate([given_up], "idle")
        world.tick(3)
        assert given_up not in {machine.name for machine in world.machines()}
        assert world.reconciler.demand.find(given_up) is None, "a good list omits it, so it is over"
        assert "cannot be written" in world.reconciler.fleet()["degraded"]["ledger"]
        assert world.reconciler.fleet()["ledger"]["unwritten"] > 0
    world.tick(40)
    assert world.state(given_up) is IntentState.ENDED
    assert "ledger" not in world.reconciler.fleet()["degraded"]
    assert world.reconciler.fleet()["ledger"]["unwritten"] == 0
    (billed_s,) = world.cloud.billed_s.values()
    assert world.intent(given_up).billed_s(world.now) == pytest.approx(billed_s, abs=3)


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_without_its_record_nothing_is_bought_and_the_reason_is_shown(world: World, kind: str) -> None:
    with world.ledger_faults.struck(kind):
        fill(world)
        (name,) = world.launch()
        world.tick(20)
        assert world.cloud.calls.get("create", 0) == 0
        waiting = world.reconciler.demand.find(name)
        assert waiting is not None
        assert waiting.state is IntentState.WANTED
        assert "ledger" in waiting.reason
    world.tick(40)
    assert world.state(name) is IntentState.BOUGHT
    assert world.cloud.created == 1


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_what_ended_while_it_could_not_be_written_is_not_lost_to_the_budget(world: World, kind: str) -> None:
    (name,) = world.launch()
    world.tick(1800)
    before = world.reconciler.spendings()["fake"].day_usd
    with world.ledger_faults.struck(kind):
        fill(world)
        world.reconciler.demand.terminate([name], "idle")
        world.tick(5)
        assert world.reconciler.spendings()["fake"].day_usd >= before > 0
    world.tick(40)
    world.restart()
    assert world.reconciler.spendings()["fake"].day_usd >= before


def test_a_crash_before_the_ledger_is_back_loses_no_machine(world: World) -> None:
    ended, kept = world.launch(2)
    world.tick(2)
    with world.ledger_faults.struck("read-only"):
        world.reconciler.demand.terminate([ended], "idle")
        world.tick(3)
        world.restart()
        world.tick(3)
        assert [machine.name for machine in world.machines()] == [kept]
    world.tick(60)
    assert world.state(ended) is IntentState.ENDED
    assert world.state(kept) is IntentState.BOUGHT


def test_while_the_ledger_cannot_be_read_no_machine_is_taken_for_a_strangers(world: World) -> None:
    (name,) = world.launch()
    world.tick(2)
    world.ledger_faults.strike("gone")
    world.restart()
    world.tick(5)
    assert [machine.name for machine in world.machines()] == [name]
    with pytest.raises(LedgerUnavailable):
        world.reconciler.demand.nodes()
    with pytest.raises(LedgerUnavailable):
        world.launch()
    assert "cannot be read" in world.reconciler.fleet()["degraded"]["ledger"]
    world.ledger_faults.mend()
    world.tick(5)
    assert [intent.name for intent in world.reconciler.demand.nodes()] == [name]
    assert [machine.name for machine in world.machines()] == [name]


def test_a_drain_ends_what_it_can_see_though_the_ledger_cannot_be_read(world: World) -> None:
    world.launch(2)
    world.tick(2)
    world.ledger_faults.strike("gone")
    world.restart()
    stranger = Instance("fake", "i-9", "c1-gpu-00000000", InstanceStatus.RUNNING, world.now, 0.7)
    world.cloud.alive["i-9"] = stranger
    world.cloud.prices["i-9"] = 0.7
    world.drain()
    assert world.machines() == []


def test_what_waits_in_memory_is_bounded(world: World) -> None:
    (name,) = world.launch()
    world.tick(2)
    with world.ledger_faults.struck("locked"):
        for number in range(5_000):
            world.reconciler.reports.phase(name, f"phase {number}")
        unwritten = world.reconciler.fleet()["ledger"]["unwritten"]
        assert unwritten <= 2_001
        assert "older events were dropped" in world.reconciler.fleet()["degraded"]["ledger"]
    world.tick(30)
    assert len(world.intent(name).phases) == 5_000, "the launch itself is written as it is"
