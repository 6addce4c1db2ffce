"""Random faults on the real reconciler: what may happen, what must hold meanwhile, and how it must end."""

import math
import random
from collections.abc import Callable

from autoscaler.clouds.fake import Fault
from autoscaler.decisions.quarantine import Breaker
from autoscaler.types import Intent, IntentState, NodeType
from tests.simulation.world import POLICY, TICK_S, World, per_hour
from tests.support.ledger_faults import LedgerFaults

CLOUDS = ("red", "blue")
TYPES = (
    NodeType("gpu", {"GPU": 1}, max_count=3, clouds=CLOUDS, regions=("EU",)),
    NodeType("raced", {"GPU": 1}, max_count=2, clouds=CLOUDS, race=True),
)
PRICES_USD_PER_HOUR = {"red": 0.8, "blue": 1.0}
BUDGET_USD_PER_HOUR, AFFORDABLE = 3.2, 3
# The longest that anything may keep a launch from being bought once all faults are over, and then some.
_PATIENCE_S = 3 * 3600.0


class FaultyCluster(World):
    """Two clouds, a Ray that wants so many nodes of each type, and faults. Everything is checked after every step."""

    def __init__(self, list_lag_s: float = 0.0) -> None:
        super().__init__(
            CLOUDS, TYPES, budgets=per_hour(BUDGET_USD_PER_HOUR), breaker=Breaker(pause_s=60.0), tell=self._told_to_end
        )
        self.wanted = {node_type.name: 0 for node_type in TYPES}
        self.vanished: set[str] = set()
        self.unwritten: set[str] = set()
        for name, cloud in self.clouds.items():
            cloud.list_lag_s, cloud.boot_s, cloud.price_usd_per_hour = list_lag_s, 5.0, PRICES_USD_PER_HOUR[name]

    def want(self, node_type: str, count: int) -> None:
        """From now on Ray has work for so many nodes of the type."""
        self.wanted[node_type] = min(count, next(t.max_count for t in TYPES if t.name == node_type))

    def fault(self, cloud: str, fault: Fault, times: int = 1) -> None:
        self.clouds[cloud].faults.extend([fault] * times)

    def restart(self) -> None:
        """What ended and could not be written before is known to nobody afterwards."""
        if hasattr(self, "reconciler") and self.reconciler.fleet()["ledger"]["unwritten"]:
            self.unwritten |= {instance_id for cloud in self.clouds.values() for instance_id in cloud.billed_s}
        super().restart()

    def _told_to_end(self, name: str, _reason: str) -> bool:
        """A node ends itself, whatever its cloud says to us."""
        for machine in self.machines():
            intent = self.reconciler.demand.find(name)
            if machine.name == name and intent is not None and intent.joined_at is not None:
                self.clouds[machine.cloud].vanish(machine.instance_id)
                return True
        return False

    def break_one(self, number: int, vanish: bool) -> None:
        """A machine disappears or fails, if there is any."""
        if machines := self.machines():
            chosen = machines[number % len(machines)]
            cloud = self.clouds[chosen.cloud]
            (cloud.vanish if vanish else cloud.fail)(chosen.instance_id)
            self.vanished |= {chosen.instance_id} if vanish else set()

    def pass_time(self, ticks: int, advance_s: float = TICK_S) -> None:
        for _ in range(ticks):
            self._demand()
            self.tick(advance_s=advance_s)
            self.join_what_booted()
            self.check()

    def check(self) -> None:
        """What must hold at every moment."""
        machines = self.machines()
        names = [machine.name for machine in machines]
        assert len(names) == len(set(names)), f"two machines for one launch: {names}"
        accepted = sum(PRICES_USD_PER_HOUR[machine.cloud] for machine in machines)
        assert accepted <= BUDGET_USD_PER_HOUR + 1e-9, f"over budget: {accepted} USD/h"
        shown = [i for i in self._nodes() if i.state is not IntentState.ENDING]
        for node_type in TYPES:
            count = sum(i.node_type == node_type.name and i.state is not IntentState.WANTED for i in shown)
            assert count <= node_type.max_count

    def finish(self) -> None:
        """Once faults are over, every request is served, and then everything ends, and the bill is complete."""
        self.ledger_faults.mend()
        for cloud in self.clouds.values():
            cloud.faults.clear()
            cloud.dead.clear()
        self._wait("every request is served", self._served)
        self.wanted = dict.fromkeys(self.wanted, 0)
        self._wait("everything ends", lambda: not self.machines() and not self._nodes())
        self.pass_time(math.ceil(POLICY.list_lag_s) + 2)
        assert self.machines() == []
        assert self.ledger.live() == []
        self._check_bill()

    def _nodes(self) -> list[Intent]:
        """What Ray sees; it skips its round while the ledger cannot be read."""
        return self.reconciler.demand.nodes() if self.reconciler.ready() else []

    def _demand(self) -> None:
        """As Ray does: launch what is missing, end what is too much."""
        if not self.reconciler.ready():
            return
        for name, wanted in self.wanted.items():
            nodes = [i for i in self._nodes() if i.node_type == name]
            coming = [i for i in nodes if i.state is not IntentState.ENDING]
            if len(coming) > wanted:
                self.reconciler.demand.terminate([i.name for i in coming[wanted:]], "no more work")
            if len(nodes) < wanted:
                self.launch(wanted - len(nodes), name)

    def _served(self) -> bool:
        """Whether as many nodes work as are wanted, or as the budget has room for."""
        joined = [i for i in self._nodes() if i.joined_at is not None and i.state is IntentState.BOUGHT]
        return len(joined) >= min(sum(self.wanted.values()), AFFORDABLE)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Seconds pass while something happens, minutes while everything waits."""
        deadline = self.now + _PATIENCE_S
        while not condition():
            assert self.now < deadline, f"{what}: not within {_PATIENCE_S} s\n{self.events()}"
            self.pass_time(8)
            if not condition():
                self.pass_time(1, advance_s=45.0)

    def _check_bill(self) -> None:
        """What the clouds billed is never missing from the ledger, but for what vanished before it could be seen."""
        counted: dict[str, float] = {}
        for intent in self.ledger.recent(10_000):
            if intent.instance_id is not None:
                counted[intent.instance_id] = counted.get(intent.instance_id, 0.0) + intent.billed_s(self.now)
        for cloud in self.clouds.values():
            assert not cloud.alive
            for instance_id, billed_s in cloud.billed_s.items():
                unseen = instance_id in self.vanished and instance_id not in counted
                unseen |= instance_id in self.unwritten
                assert unseen or counted.get(instance_id, 0.0) >= billed_s - 1e-6, f"{instance_id} is not in the bill"


def play(seed: int, steps: int = 15) -> FaultyCluster:
    """One random schedule of demand, faults, breakdowns and restarts, to its end; raises AssertionError."""
    dice = random.Random(seed)
    with FaultyCluster(list_lag_s=dice.choice((0.0, 4.0))) as cluster:
        for _ in range(steps):
            step(cluster, dice)
        cluster.finish()
    return cluster


def step(cluster: FaultyCluster, dice: random.Random) -> None:
    """One thing that happens, then some time."""
    kind = dice.choice(("want", "want", "fault", "fault", "fault", "fault", "break", "restart", "ledger"))
    if kind == "want":
        cluster.want(dice.choice(TYPES).name, dice.randrange(4))
    elif kind == "fault":
        cloud, fault, times = dice.choice(CLOUDS), dice.choice(list(Fault)), dice.choice((1, 1, 1, 3, 9))
        # A list that is wrong nine times in a row is the truth for whoever reads it; an end may be refused for long.
        cluster.fault(cloud, fault, times if fault.name.startswith("TERMINATE") else min(times, 3))
    elif kind == "break":
        cluster.break_one(dice.randrange(9), vanish=dice.random() < 0.5)
    elif kind == "ledger":
        cluster.ledger_faults.strike(dice.choice(LedgerFaults.KINDS))
    else:
        cluster.restart()
    cluster.pass_time(dice.randrange(1, 6), advance_s=dice.choice((1.0, 1.0, 1.0, 20.0)))
    if dice.random() < 0.4:
        cluster.ledger_faults.mend()
