"""A machine's clock that is minutes off, and is set, moves no deadline of ours."""

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from cluster.orchestrator.join_tokens import TOKEN_LIFETIME_S, Joins
from cluster.ray_patches.decision import APPLIED
from cluster.steady_clock import KEPT, SteadyClock, _boot, _since_boot, install

with warnings.catch_warnings(action="ignore"):  # Serve's own
    from ray.serve.autoscaling_policy import _apply_delay_logic
    from ray.serve.config import AutoscalingConfig


SET = 1_800_000_000.0


class Machine:
    """Its wall clock shows the time since boot and an error."""

    def __init__(self) -> None:
        self.up_s, self.error_s, self.boot = 50.0, 0.0, "first"
        self.clock = self.process()

    def process(self, kept: Path | None = None) -> SteadyClock:
        """The clock of one that starts now."""
        return SteadyClock(self.wall, lambda: self.up_s, kept, lambda: self.boot)

    def wall(self) -> float:
        return SET + self.up_s + self.error_s

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


@pytest.mark.parametrize("step_s", [-300.0, 300.0])
def test_who_starts_while_the_wall_clock_is_off_goes_on_with_the_time_that_was_kept(
    machine: Machine, tmp_path: Path, step_s: float
) -> None:
    first = machine.process(tmp_path / "clock.json")
    machine.error_s = step_s
    second = machine.process(tmp_path / "clock.json")
    assert second() == pytest.approx(first(), abs=1e-6)
    for _ in range(100):
        machine.wait(1)
        first()
    third = machine.process(tmp_path / "clock.json")
    assert third() == pytest.approx(first(), abs=0.11), "what the first has made good meanwhile is kept"
    assert [path.name for path in tmp_path.iterdir()] == ["clock.json"]


@pytest.mark.parametrize("why", ["another boot", "a clock that was hours off", "nonsense"])
def test_what_was_kept_is_not_believed_when_it_means_nothing(machine: Machine, tmp_path: Path, why: str) -> None:
    kept = tmp_path / "clock.json"
    machine.process(kept)
    machine.error_s = 300.0
    if why == "another boot":
        machine.boot = "second"
    elif why == "nonsense":
        kept.write_text("[1]")
    else:
        machine.error_s = 5 * 3600.0
    assert machine.process(kept)() == pytest.approx(machine.wall(), abs=1e-6)
    machine.error_s = 0.0
    assert machine.process(tmp_path / "no folder" / "clock.json")() == pytest.approx(machine.wall(), abs=1e-6)


def test_a_clock_that_starts_in_1970_and_is_set_later_is_taken_at_once(machine: Machine) -> None:
    machine.error_s = -SET
    clock = machine.process()
    assert not clock.is_set
    assert clock() == pytest.approx(machine.wall())
    machine.up_s += 30
    machine.error_s = 0.0
    assert clock() == pytest.approx(machine.wall(), abs=1e-6)
    assert clock.is_set


@pytest.mark.parametrize("boot", ["first", "second"])
def test_a_machine_that_boots_without_a_clock_goes_on_from_the_last_time_that_was_kept(
    machine: Machine, tmp_path: Path, boot: str
) -> None:
    kept = tmp_path / "clock.json"
    before = machine.process(kept)
    for _ in range(600):
        machine.up_s += 1
        last = before()
    if boot == "second":
        machine.up_s = 5.0
    machine.boot, machine.error_s = boot, -SET
    clock = machine.process(kept)
    assert last - 61 <= clock() <= last + 1, "ages of what was bought before go on"
    assert not clock.is_set
    machine.error_s = 7200.0
    assert clock() == pytest.approx(machine.wall(), abs=1e-6)


def test_a_clock_that_loses_its_time_while_it_runs_goes_on(machine: Machine) -> None:
    before = machine.clock()
    machine.error_s = -SET
    machine.wait(600)
    assert machine.clock() == pytest.approx(before + 600)


def test_whoever_asks_while_another_adjusts_it_does_not_wait(machine: Machine) -> None:
    """A fork of a process whose other thread was adjusting would wait for ever."""
    with machine.clock._adjusting:
        machine.up_s += 10
        machine.error_s = 300.0
        asked = threading.Thread(target=machine.clock)
        asked.start()
        asked.join(timeout=60)
        assert not asked.is_alive()
        assert machine.clock() == machine.wall() - 300.0


def idle_s_until_serve_lets_go(machine: Machine) -> float:
    """How long an idle replica is kept, of which the clock was 370 s ahead for the first 17."""
    config = AutoscalingConfig(min_replicas=0, max_replicas=2, downscale_to_zero_delay_s=20)
    replicas, began = 1, machine.up_s
    state: dict[str, Any] = {}
    machine.error_s = 370.0
    while replicas and machine.up_s < began + 3600:
        if machine.up_s >= began + 17:
            machine.error_s = 0.0
        replicas, state = _apply_delay_logic(0, replicas, config, state)
        machine.up_s += 1
    return machine.up_s - began


def test_serve_lets_an_idle_replica_go_in_time_whatever_the_wall_clock_does(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", time.time_ns)
    monkeypatch.setattr(time, "time", machine.wall)
    assert idle_s_until_serve_lets_go(machine) > 370, "Serve counts by the wall clock"
    install(machine.clock)
    assert idle_s_until_serve_lets_go(machine) == pytest.approx(20, abs=2)
    assert time.time_ns() == pytest.approx(machine.clock() * 1e9)


@pytest.mark.parametrize(
    "started",
    ["import cluster.ray_patches.head_process", "import cluster.ray_patches.autoscaler_monitor as m; m.main()"],
)
def test_rays_processes_on_the_head_go_by_the_time_that_was_kept(tmp_path: Path, started: str) -> None:
    kept, script = tmp_path / "clock.json", tmp_path / "script.py"
    clock = SteadyClock()
    offset_s = clock() - _since_boot() - 300.0
    kept.write_text(json.dumps({"boot": _boot(), "offset_s": offset_s}), encoding="utf-8")
    script.write_text("import time\nprint(time.time())\n")
    command = [sys.executable, "-c", f"{started}\nimport time\nprint(time.time())", str(script)]
    applied = {KEPT: str(kept), APPLIED: "steady_clock"}
    for added, behind_s in ((applied, 300.0), ({KEPT: str(kept), APPLIED: ""}, 0.0), ({APPLIED: "steady_clock"}, 0.0)):
        before = clock()
        done = subprocess.run(command, env=os.environ | added, capture_output=True, text=True, check=True, timeout=60)
        for said in done.stdout.split():
            assert before - 1 < float(said) + behind_s < clock() + 1
