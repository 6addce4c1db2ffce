"""The real reconciler and ledger on a fake clock and fake clouds, with a Ray that only counts."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine

from autoscaler.clouds.contract import CloudProvider
from autoscaler.clouds.fake import Provider
from autoscaler.decisions.budget import Budget, Budgets
from autoscaler.decisions.decide import Policy
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.reconciler import Reconciler
from autoscaler.fleet.spec import Pace, Rules, Spec
from autoscaler.records.journal import Journal
from autoscaler.records.ledger import Ledger
from autoscaler.simulation.virtual_time import VirtualTimeLoop
from autoscaler.types import Equipment, Instance, InstanceStatus, Intent, IntentState, NodeType, Offer
from cluster.storage.database import open_engine
from tests.support.ledger_faults import LedgerFaults

TICK_S = 1.0
# Ray says nothing of its nodes here, unless a test does.
POLICY = Policy(
    list_lag_s=10.0, join_timeout_s=600.0, max_age_s=6 * 3600.0, cool_down_s=60.0, silent_limit_s=float("inf")
)
PACE = Pace({})


def equip(_name: str, _type: NodeType, _offer: Offer) -> Equipment:
    return Equipment()


class World:
    """A cluster whose time stands still unless a tick is made."""

    def __init__(self, clouds: Sequence[str], types: Sequence[NodeType], **options: Any) -> None:
        self.now, self.calls = 1_000_000.0, 0
        self._flows_since: float | None = None
        self.types, self.options = types, {"pace": PACE} | options
        self.clouds = {name: Provider(clock=self.clock, name=name) for name in clouds}
        self._engine: Engine = open_engine("sqlite://")
        self.ledger = Ledger(self._engine, self.clock)
        self.ledger.create_tables()
        self.ledger_faults = LedgerFaults(self._engine)
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._runner.close()
        self._engine.dispose()

    @property
    def cloud(self) -> Provider:
        """The first cloud."""
        return next(iter(self.clouds.values()))

    def restart(self) -> None:
        """A new process on the same ledger and clouds; what the old one had under way is cut off."""
        self._runner.close()
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.use(self.clouds, self.types)

    def use(self, clouds: Mapping[str, CloudProvider], types: Sequence[NodeType], **options: Any) -> None:
        """Reconcile these clouds with these node types from now on."""
        options = {"policy": POLICY} | self.options | options
        measures, tell = options.pop("measures", None), options.pop("tell", lambda _name, _reason: False)
        launches = Launches(Journal(self.ledger, self.clock), self.clock, measures)
        spec = Spec("c1", types, equip, options.pop("forbids", lambda: ""))
        self.reconciler = Reconciler(spec, clouds, launches, Rules(**options), tell)

    def clock(self) -> float:
        """Unix seconds."""
        waited_s = 0.0 if self._flows_since is None else self._runner.get_loop().time() - self._flows_since
        return self.now + waited_s

    def flow(self) -> None:
        """From now on time also passes while a tick waits."""
        self._flows_since = self._runner.get_loop().time()

    def tick(self, times: int = 1, advance_s: float = TICK_S) -> None:
        for _ in range(times):
            self._runner.run(self.reconciler.tick())
            self.now += advance_s

    def drain(self, timeout_s: float = 10.0) -> None:
        self._runner.run(self.reconciler.drain(timeout_s))

    def launch(self, count: int = 1, node_type: str = "gpu", call_id: str = "") -> list[str]:
        self.calls += 1
        return self.reconciler.demand.launch(node_type, count, {"ray": "tag"}, call_id or f"call-{self.calls}")

    def join_what_booted(self) -> None:
        """Machines that run become Ray nodes, but for dead ones and those that are refused."""
        for cloud in self.clouds.values():
            for instance in list(cloud.alive.values()):
                intent = self.reconciler.demand.find(instance.name)
                runs = cloud.as_of_now(instance).status is InstanceStatus.RUNNING
                if runs and instance.instance_id not in cloud.dead and intent and intent.state is IntentState.BOUGHT:
                    self.reconciler.reports.joined(instance.name)

    def intent(self, name: str) -> Intent:
        return next(i for i in self.ledger.recent() if i.name == name)

    def state(self, name: str) -> IntentState:
        return self.intent(name).state

    def machines(self) -> list[Instance]:
        return [instance for cloud in self.clouds.values() for instance in cloud.alive.values()]

    def events(self) -> str:
        """The latest sentences, as one text."""
        return "\n".join(f"{e['name']}: {e['sentence']}" for e in self.ledger.recent_events(200))


def per_hour(usd: float, **values: Any) -> Budgets:
    """A budget for everything together."""
    return Budgets(Budget(per_hour_usd=usd, **values))
