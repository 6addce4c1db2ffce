"""Random faults: whatever happens, nothing is doubled, overspent, left over or left undone."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from autoscaler.clouds.fake import Fault
from tests.simulation.random_faults import CLOUDS, TYPES, FaultyCluster, play
from tests.support.ledger_faults import LedgerFaults


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_schedules_end_at_zero_with_every_request_served(first: int) -> None:
    """Ten thousand of them: `python -m tests.simulation.schedules`."""
    for seed in range(first, first + 20):
        play(seed)


class RandomFaults(RuleBasedStateMachine):
    """The same, with schedules written by Hypothesis, which shortens those that break a rule."""

    cluster: FaultyCluster

    @initialize(list_lag_s=st.sampled_from([0.0, 4.0]))
    def begin(self, list_lag_s: float) -> None:
        self.cluster = FaultyCluster(list_lag_s)

    @rule(node_type=st.sampled_from([t.name for t in TYPES]), count=st.integers(0, 3))
    def want(self, node_type: str, count: int) -> None:
        self.cluster.want(node_type, count)
        self.cluster.pass_time(1)

    @rule(cloud=st.sampled_from(CLOUDS), fault=st.sampled_from(list(Fault)), times=st.sampled_from([1, 3]))
    def fault(self, cloud: str, fault: Fault, times: int) -> None:
        self.cluster.fault(cloud, fault, times)

    @rule(number=st.integers(0, 9), vanish=st.booleans())
    def break_one(self, number: int, vanish: bool) -> None:
        self.cluster.break_one(number, vanish)

    @rule(kind=st.sampled_from(["", *LedgerFaults.KINDS]))
    def ledger(self, kind: str) -> None:
        self.cluster.ledger_faults.strike(kind)

    @rule()
    def restart(self) -> None:
        self.cluster.restart()

    @rule(ticks=st.integers(1, 12), advance_s=st.sampled_from([1.0, 20.0]))
    def pass_time(self, ticks: int, advance_s: float) -> None:
        self.cluster.pass_time(ticks, advance_s)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.check()

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            with self.cluster as cluster:
                cluster.finish()


TestRandomFaults = RandomFaults.TestCase
TestRandomFaults.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
