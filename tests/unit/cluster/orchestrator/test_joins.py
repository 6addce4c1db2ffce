import pytest

from cluster.orchestrator.join_tokens import TOKEN_LIFETIME_S, Joins, Refused


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


def test_a_report_needs_the_token_of_its_own_name() -> None:
    joins = Joins(Clock())
    reports = {name: joins.redeem(name, joins.issue(name)) for name in "ab"}
    with pytest.raises(Refused, match="may not report"):
        joins.check_report("a", reports["b"])
