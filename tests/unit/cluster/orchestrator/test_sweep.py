"""Ending everything by the names at the clouds alone."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from autoscaler.clouds.fake import Fault, Provider
from autoscaler.simulation.virtual_time import VirtualTimeLoop
from autoscaler.types import Instance, InstanceStatus
from cluster.orchestrator.ledger_file import OpenEntry
from cluster.orchestrator.sweep import Swept, sweep


class Clouds:
    """Two clouds with a machine each, and a clock that the sweep's pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clouds = {name: Provider(clock=lambda: self.now, name=name) for name in ("red", "blue")}
        for name, cloud in self.clouds.items():
            cloud.alive["i-1"] = Instance(name, "i-1", f"c1-gpu-{name}", InstanceStatus.RUNNING, 0.0, 1.0)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(seconds)

    def sweep(
        self, timeout_s: float = 100.0, say: Callable[[str], None] = lambda _line: None, **values: Any
    ) -> dict[str, Swept]:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(sweep(self.clouds, timeout_s, say, self.sleep, **values))


def test_everything_is_ended_and_lists_have_proved_it() -> None:
    clouds = Clouds()
    swept = clouds.sweep()
    assert all(cloud.done for cloud in swept.values())
    assert swept["red"].view() == {"ended": ["c1-gpu-red"], "left": [], "unknown": ""}
    assert not any(cloud.alive for cloud in clouds.clouds.values())


@pytest.mark.parametrize("fault", [Fault.TERMINATE_IGNORED, Fault.TERMINATE_FAILS, Fault.LISTING_FAILS])
def test_what_fails_is_tried_again(fault: Fault) -> None:
    clouds, said = Clouds(), list[str]()
    clouds.clouds["red"].faults.extend([fault] * 4)
    swept = clouds.sweep(say=said.append)
    assert all(cloud.done for cloud in swept.values())
    assert len(said) == len(set(said)) or fault is Fault.TERMINATE_FAILS


def test_a_purchase_that_is_listed_late_is_found() -> None:
    clouds = Clouds()
    clouds.clouds["red"].list_lag_s = 5.0
    swept = clouds.sweep()
    assert swept["red"].ended == {"c1-gpu-red"}


def test_a_cloud_that_cannot_be_asked_is_unknown_and_keeps_nothing_alive_elsewhere() -> None:
    clouds = Clouds()
    clouds.clouds["red"].faults.extend([Fault.KEY_REFUSED] * 100)
    swept = clouds.sweep()
    assert not swept["red"].done
    assert "401" in swept["red"].unknown
    assert swept["blue"].done
    assert clouds.clouds["red"].alive
    assert not clouds.clouds["blue"].alive


def test_a_cloud_that_does_not_answer_is_said_to_do_so_once() -> None:
    clouds, said = Clouds(), list[str]()
    clouds.clouds["red"].slow_s = 1000.0
    clouds.clouds["red"].faults.extend([Fault.LISTING_SLOW] * 100)
    swept = clouds.sweep(say=said.append)
    assert swept["red"].unknown == "no answer in time"
    told = [line for line in said if line.startswith("red")]
    assert told == ["red: its list cannot be had, so nothing is known: no answer in time"]


def test_a_cloud_that_refuses_altogether_is_not_asked_for_long() -> None:
    clouds = Clouds()
    clouds.clouds["red"].faults.extend([Fault.KEY_REFUSED] * 100)
    clouds.sweep(timeout_s=1e6)
    assert clouds.now < 60
    assert len(clouds.clouds["red"].faults) > 90


def test_what_is_known_by_its_id_is_ended_without_a_list() -> None:
    clouds = Clouds()
    clouds.clouds["red"].faults.extend([Fault.LISTING_FAILS] * 1000)
    known = OpenEntry("c1-gpu-red", "red", "i-1", 0.5)
    swept = clouds.sweep(known=[known])
    assert not clouds.clouds["red"].alive
    assert not swept["red"].done, "no list has proved it"
    assert swept["red"].may_bill == {"i-1": known}


@pytest.mark.parametrize("settled_in_s", [0.0, 30.0, 60.0])
def test_an_empty_list_that_may_lag_behind_a_purchase_proves_nothing(settled_in_s: float) -> None:
    clouds = Clouds()
    clouds.clouds["red"].alive.clear()
    swept = clouds.sweep(settled_in_s={"red": settled_in_s})
    assert swept["red"].done
    assert clouds.now >= settled_in_s
