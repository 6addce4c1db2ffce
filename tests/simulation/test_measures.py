"""What is told of launches while they live, by the real reconciler on a fake clock."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest

from autoscaler.clouds.fake import Fault
from autoscaler.errors import KeyRefused, RequestRefused
from autoscaler.fleet.measures import Measures, cause_of
from autoscaler.records.ledger import Ledger, intents
from autoscaler.types import Intent, IntentState, NodeType
from cluster.storage.database import open_engine
from tests.simulation.world import World

TYPES = [NodeType("gpu", {"GPU": 1}, max_count=2, clouds=("fake",))]


class Counted(Measures):
    """Everything that was told."""

    def __init__(self) -> None:
        self.phases: defaultdict[str, list[float]] = defaultdict(list)
        self.joins: list[float] = []
        self.outcomes, self.causes = Counter[str](), Counter[str]()
        self.ticks: list[float] = []

    def booted(self, cloud: str, phase: str, seconds: float) -> None:
        self.phases[phase].append(round(seconds, 3))

    def joined(self, cloud: str, seconds: float) -> None:
        self.joins.append(seconds)

    def launch_ended(self, cloud: str, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def cloud_failed(self, cloud: str, cause: str) -> None:
        self.causes[cause] += 1

    def ticked(self, at: float) -> None:
        self.ticks.append(at)


@pytest.fixture
def told() -> Counted:
    return Counted()


@pytest.fixture
def world(told: Counted) -> Iterator[World]:
    with World(["fake"], TYPES, measures=told) as world:
        yield world


def test_a_cold_start_is_told_phase_by_phase_and_adds_up(world: World, told: Counted) -> None:
    (name,) = world.launch()
    world.now += 2
    world.tick(20)
    world.reconciler.reports.phase(name, "image up", ago_s=1.5)
    world.reconciler.reports.phase(name, "joined")
    world.now += 3
    world.reconciler.reports.joined(name)
    world.now += 4
    world.reconciler.reports.phase(name, "model loaded")
    world.reconciler.reports.phase(name, "draining")
    assert told.phases["image up"], "before the node is up, nothing can be said of the order"
    assert {phase: len(said) for phase, said in told.phases.items()} == dict.fromkeys(told.phases, 1)
    assert set(told.phases) == {"bought", "image up", "joined", "Ray up", "model loaded"}
    assert (told.phases["joined"], told.phases["Ray up"], told.phases["model loaded"]) == ([1.5], [3.0], [4.0])
    to_node = sum(told.phases[phase][0] for phase in ("bought", "image up", "joined", "Ray up"))
    assert told.joins == [pytest.approx(to_node)]


def test_outcomes_and_causes(world: World, told: Counted) -> None:
    joined, broken = world.launch(2)
    world.tick(20)
    world.reconciler.reports.joined(joined)
    world.reconciler.reports.failed(broken, "no CUDA")
    world.reconciler.demand.terminate([joined], "idle")
    world.tick(3)
    assert told.outcomes == {"ended": 1, "broken": 1}
    world.now += 120  # the broken machine's offer rests
    world.cloud.faults.append(Fault.NO_CAPACITY)
    (unused,) = world.launch()
    world.tick()
    world.cloud.faults.append(Fault.KEY_REFUSED)
    world.tick()
    world.reconciler.demand.terminate([unused], "no more work")
    world.tick(2)
    assert told.causes == {"no_capacity": 1, "key_refused": 1}
    assert told.outcomes["unused"] == 1
    assert told.ticks == sorted(told.ticks)
    assert len(told.ticks) == 27


def test_what_is_billed_only_grows_and_is_what_the_cloud_bills(world: World, told: Counted) -> None:
    seen = [0.0]
    for _round in range(2):
        (name,) = world.launch()
        for _second in range(30):
            world.tick()
            seen.append(sum(world.reconciler.billed_s().values()))
        world.reconciler.demand.terminate([name], "idle")
        world.tick(3)
        seen.append(sum(world.reconciler.billed_s().values()))
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(sum(world.cloud.billed_s.values()), abs=4)
    world.restart()
    assert sum(world.reconciler.billed_s().values()) == pytest.approx(seen[-1])


def test_an_instance_that_does_not_end_says_for_how_long(world: World) -> None:
    (name,) = world.launch()
    world.tick(20)
    world.cloud.faults.extend([Fault.TERMINATE_IGNORED] * 50)
    world.reconciler.demand.terminate([name], "idle")
    world.tick(30)
    assert world.state(name) is IntentState.ENDING
    (view,) = world.reconciler.fleet()["instances"]
    assert view["ending_s"] == 30
    world.restart()
    (view,) = world.reconciler.fleet()["instances"]
    assert view["ending_s"] == 30, "a restart does not begin anew"


def test_causes_are_the_names_of_errors() -> None:
    assert cause_of(RequestRefused("x")) == "request_refused"
    assert cause_of(KeyRefused("x")) == "key_refused"
    assert cause_of(TimeoutError()) == "timeout"
    assert cause_of(ZeroDivisionError()) == "defect"


def test_a_ledger_of_an_older_version_gets_the_new_column() -> None:
    engine = open_engine("sqlite://")
    ledger = Ledger(engine, lambda: 5.0)
    ledger.create_tables()
    ledger.write([Intent("c1-gpu-00000000", "gpu", IntentState.WANTED, 5.0)])
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {intents.name} DROP COLUMN ending_at")
    for _start in range(2):
        ledger.create_tables()
    (intent,) = ledger.live()
    assert intent.ending_at is None
    ledger.write([replace(intent, ending_at=7.0)])
    assert [intent.ending_at for intent in ledger.live()] == [7.0]
    engine.dispose()
