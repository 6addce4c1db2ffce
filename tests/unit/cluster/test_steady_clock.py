"""A machine's clock that is minutes off, and is set, moves no deadline of ours."""

import pytest

from cluster.joins import TOKEN_LIFETIME_S, Joins
from cluster.steady_clock import SteadyClock


class Machine:
    """Its wall clock shows the time since boot and an error."""

    def __init__(self) -> None:
        self.up_s, self.error_s = 50.0, 0.0
        self.clock = SteadyClock(self.wall, lambda: self.up_s)

    def wall(self) -> float:
        return 1_000_000.0 + self.up_s + self.error_s

    def wait(self, seconds: float, step_s: float = 1.0) -> None:
        for _ in range(int(seconds / step_s)):
            self.up_s += step_s
            self.clock()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_while_nobody_sets_the_wall_clock_it_is_the_wall_clock(machine: Machine) -> None:
    machine.wait(3600)
    assert machine.clock() == pytest.approx(machine.wall(), abs=1e-6)


@pytest.mark.parametrize("step_s", [-300.0, 300.0])
def test_a_step_is_followed_slowly_and_never_backwards(machine: Machine, step_s: float) -> None:
    before = machine.clock()
    machine.error_s = step_s
    assert machine.clock() == before
    machine.wait(100)
    assert machine.clock() - before == pytest.approx(100, abs=1.01)
    machine.wait(9 * 3600, step_s=60)
    assert machine.clock() == pytest.approx(machine.wall(), abs=1e-6)


@pytest.mark.parametrize("step_s", [-300.0, 300.0])
def test_a_join_token_lives_its_quarter_of_an_hour_whatever_the_wall_clock_does(
    machine: Machine, step_s: float
) -> None:
    joins = Joins(machine.clock)
    token = joins.issue("a")
    machine.error_s = step_s
    machine.wait(TOKEN_LIFETIME_S - 15)
    assert joins.expects("a", token)
    machine.wait(30)
    assert not joins.expects("a", token)
