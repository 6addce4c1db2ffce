from pathlib import Path

import pytest

from cluster.config.schema import ScalingSettings, Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.orchestrator.join_tokens import TOKEN_LIFETIME_S, Joins, Refused
from cluster.orchestrator.orchestrator import Orchestrator


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_joins_once_and_grants_reports() -> None:
    joins = Joins(Clock())
    token = joins.issue("a")
    joins.check_report("a", joins.redeem("a", token))
    with pytest.raises(Refused, match="no join is expected"):
        joins.redeem("a", token)


def test_a_token_is_bound_to_its_name() -> None:
    joins = Joins(Clock())
    token = joins.issue("a")
    joins.issue("b")
    with pytest.raises(Refused):
        joins.redeem("b", token)


def test_a_token_expires() -> None:
    clock = Clock()
    joins = Joins(clock)
    token = joins.issue("a")
    clock.now += TOKEN_LIFETIME_S + 1
    with pytest.raises(Refused, match="expired"):
        joins.redeem("a", token)


@pytest.mark.parametrize("join_timeout_s", [600.0, 1800.0, 20_000.0])
def test_a_machine_that_boots_as_slowly_as_it_may_still_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, join_timeout_s: float
) -> None:
    """By the orchestrator's own tokens: the purchase has taken its minute first."""
    clock, state = Clock(), StateDir(tmp_path)
    monkeypatch.setattr("cluster.orchestrator.orchestrator.SteadyClock", lambda kept: clock)
    state.prepare()
    settings = Settings(state_dir=tmp_path, scaling=ScalingSettings(join_timeout_s=join_timeout_s)).resolved()
    card = ClusterCard("aima-c1", "127.77.0.1", 10_000, "http://127.0.0.1:8000", "http://127.77.0.1:10009", 0.0)
    orchestrator = Orchestrator(settings, state, card)
    token = orchestrator.joins.issue("a")
    clock.now += 60.0 + join_timeout_s
    assert orchestrator.joins.expects("a", token)
    orchestrator.joins.redeem("a", token)


def test_a_report_needs_the_token_of_its_own_name() -> None:
    joins = Joins(Clock())
    reports = {name: joins.redeem(name, joins.issue(name)) for name in "ab"}
    with pytest.raises(Refused, match="may not report"):
        joins.check_report("a", reports["b"])
