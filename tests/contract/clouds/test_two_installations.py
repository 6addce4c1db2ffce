"""Two installations that share one account: each sees, ends and sweeps its own machines only."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscaler.clouds.contract import CloudProvider
from autoscaler.clouds.registry import load_provider
from autoscaler.decisions.decide import Policy
from autoscaler.fakes.serving import KEY
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.reconciler import Reconciler
from autoscaler.fleet.spec import Pace, Rules, Spec
from autoscaler.names import new_cluster_id
from autoscaler.records.journal import Journal
from autoscaler.records.ledger import Ledger
from autoscaler.types import Equipment, IntentState, NodeType
from cluster.orchestrator.sweep import sweep
from cluster.storage.database import open_engine
from tests.support.clouds.providers import RENTED, Rented, rented

POLICY = Policy(list_lag_s=10.0, join_timeout_s=600.0, max_age_s=6 * 3600.0, cool_down_s=60.0)
# Ids of which one begins like the other, as people choose them, and ids as `new_cluster_id` makes them: two fixed
# ones, since every process of a run must collect the same tests.
PAIRS = [("aima", "aima-staging"), ("aima-a-gpu", "aima-a"), ("aima-5f4395a7bcaf4f5a", "aima-404dfcf1e0b98416")]


@dataclass
class Installation:
    """A reconciler with its own id and ledger."""

    cluster_id: str
    provider: CloudProvider
    ledger: Ledger
    reconciler: Reconciler

    def launch(self, node_type: str = "gpu") -> str:
        (name,) = self.reconciler.demand.launch(node_type, 1, {}, f"call-{len(self.ledger.recent())}")
        return name


@dataclass
class Account:
    """One account, and the two that share it."""

    cloud: Rented
    first: Installation
    second: Installation

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            for installation in (self.first, self.second):
                self.cloud.run(installation.reconciler.tick())
            self.cloud.clock.now += 1.0

    def billing(self) -> set[str]:
        return {machine.name for machine in self.cloud.account.alive()}


def provider(cloud: Rented, cluster_id: str, **options: object) -> CloudProvider:
    name, clock = cloud.provider.name, cloud.clock
    own = {"base_url": f"{cloud.url}/api", "wall_clock": clock} if name == "vastai" else {"base_url": cloud.url}
    return load_provider(name, cluster_id=cluster_id, api_key=KEY, clock=clock, sleep=clock.sleep, **own, **options)


def installed(cloud: Rented, cluster_id: str) -> Installation:
    own, ledger = provider(cloud, cluster_id), Ledger(open_engine("sqlite://"), cloud.clock)
    ledger.create_tables()
    types = [NodeType(name, {"GPU": 1}, max_count=2, clouds=(own.name,)) for name in ("gpu", "staging-gpu")]
    pace = Pace({}, patience_s=10.0, call_timeout_s=4.0)
    clouds = {own.name: own}
    spec, launches = (
        Spec(cluster_id, types, lambda *_: Equipment()),
        Launches(Journal(ledger, cloud.clock), cloud.clock),
    )
    return Installation(cluster_id, own, ledger, Reconciler(spec, clouds, launches, Rules(POLICY, pace=pace)))


@pytest.fixture(params=RENTED)
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented(request.param, tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture(params=PAIRS, ids=lambda pair: "+".join(pair)[:32])
def shared(cloud: Rented, request: pytest.FixtureRequest) -> Iterator[Account]:
    account = Account(cloud, *(installed(cloud, cluster_id) for cluster_id in request.param))
    yield account
    for installation in (account.first, account.second):
        cloud.run(installation.provider.close())


def test_each_ends_its_own_machines_only(shared: Account) -> None:
    ours = [shared.first.launch(), shared.first.launch("staging-gpu")]
    theirs = [shared.second.launch(), shared.second.launch("staging-gpu")]
    shared.tick(15)
    assert shared.billing() == {*ours, *theirs}
    shared.first.reconciler.demand.terminate(ours, "no work")
    shared.tick(15)
    assert shared.billing() == set(theirs)
    assert {intent.state for intent in shared.first.ledger.recent()} == {IntentState.ENDED}
    assert {intent.state for intent in shared.second.ledger.recent()} == {IntentState.BOUGHT}


def test_each_sweeps_its_own_machines_only(shared: Account) -> None:
    ours, theirs = shared.first.launch("staging-gpu"), shared.second.launch()
    shared.tick(3)

    def swept_by(installation: Installation) -> set[str]:
        clouds = {"it": installation.provider}
        return shared.cloud.run(sweep(clouds, 100.0, lambda _line: None, shared.cloud.clock.sleep))["it"].ended

    assert swept_by(shared.first) == {ours}
    assert shared.billing() == {theirs}
    assert swept_by(shared.second) == {theirs}
    assert shared.billing() == set()


def test_a_machine_from_before_an_upgrade_is_known_by_its_whole_name(cloud: Rented) -> None:
    old, another = "aima-gpu-large-0123abcd", "aima-gpu-large-4567abcd"
    for name in (old, another):
        cloud.create(name)
    upgraded = provider(cloud, new_cluster_id(), known_names=[old])
    try:
        assert [instance.name for instance in cloud.run(upgraded.list_instances())] == [old]
    finally:
        cloud.run(upgraded.close())
