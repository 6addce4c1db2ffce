"""What a tick costs at scale: `python -m tests.benchmarks.reconciler [--instances 1000] [--ticks 50] [--json]`.

The real reconciler and ledger on four fake clouds, without any network. Measured: CPU time of ticks in
which every cloud's list is new, and the calls per simulated minute at the clouds' pace, with few and many machines.
"""

import argparse
import json
import logging
import statistics
import time
from typing import Any

from autoscaler.fleet.spec import Pace
from autoscaler.types import Activity, NodeType
from tests.simulation.world import World

GOAL_MS = 100.0
CLOUDS = ("red", "blue", "green", "grey")
_PACE_S = 5.0


def main() -> None:
    """Measure, print against the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--ticks", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    few, many = _measure(10, options.ticks), _measure(options.instances, options.ticks)
    report = {
        "instances": options.instances,
        "clouds": len(CLOUDS),
        "tick_cpu_ms": many["tick_cpu_ms"],
        "tick_cpu_ms_max": many["tick_cpu_ms_max"],
        "fleet_view_cpu_ms": many["fleet_view_cpu_ms"],
        "calls_per_minute": many["calls_per_minute"],
        "calls_per_minute_with_10": few["calls_per_minute"],
        "goal_ms": GOAL_MS,
    }
    for name, value in report.items():
        print(f"{name:28} {value:g}")
    if options.json:
        print(json.dumps(report))


def _measure(instances: int, ticks: int) -> dict[str, float]:
    node_type = NodeType("gpu", {"GPU": 1}, max_count=instances, clouds=CLOUDS)
    with World(CLOUDS, [node_type]) as world:
        for cloud in world.clouds.values():
            cloud.boot_s = 0.0
        while len(world.machines()) < instances:
            cheapest = min(world.clouds.values(), key=lambda cloud: len(cloud.alive))
            cheapest.price_usd_per_hour *= 0.999  # so that all four are bought from
            world.launch(min(50, instances - len(world.machines())))
            world.tick()
        world.join_what_booted()
        used = {intent.name: Activity(True, ("GPU in use",)) for intent in world.reconciler.demand.nodes()}
        world.reconciler.activities.observe(used)
        world.tick(3)
        times = [_timed(world.tick) for _ in range(ticks)]
        view_ms = _timed(world.reconciler.fleet)
        calls = _calls_in_a_minute(world)
    return {
        "tick_cpu_ms": statistics.median(times),
        "tick_cpu_ms_max": max(times),
        "fleet_view_cpu_ms": view_ms,
        "calls_per_minute": calls,
    }


def _timed(work: Any) -> float:
    """CPU milliseconds of it."""
    before = time.process_time()
    work()
    return 1000 * (time.process_time() - before)


def _calls_in_a_minute(world: World) -> int:
    world.use(world.clouds, world.types, pace=Pace(dict.fromkeys(CLOUDS, _PACE_S)))
    before = sum(sum(cloud.calls.values()) for cloud in world.clouds.values())
    world.tick(60)
    return sum(sum(cloud.calls.values()) for cloud in world.clouds.values()) - before


if __name__ == "__main__":
    main()
