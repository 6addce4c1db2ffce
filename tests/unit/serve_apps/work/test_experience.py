"""What is learnt from the work that was done."""

from typing import Any

import pytest

from serve_apps.analyses import Lane
from serve_apps.store.throughput import Habits, Work, habits
from serve_apps.work.estimates import estimate, rates
from serve_apps.work.pricing import Pricing

LABELS, BOTH = frozenset({"labels"}), frozenset({"labels", "scenes"})


def instance(name: str, **values: Any) -> dict[str, Any]:
    """Wanted at 1000, its first frame at 1020, billed from 1001 to 1050."""
    common = {"node_type": "gpu", "wanted_at": 1000.0, "ended_at": 1050.0, "billed_s": 49.0, "boot_s": 8.0}
    return common | {"name": name, "phases": {"model loaded": 20.0}, "price_usd_per_hour": 3.6} | values


def work(began_at: float, ended_at: float, media_s: float = 60.0, **values: Any) -> Work:
    return Work(**{"lane": Lane.GPU, "instance": "i-1", "analyzers": LABELS} | values, media_s=media_s,
                began_at=began_at, ended_at=ended_at)  # fmt: skip


def test_loading_the_models_is_no_work_and_what_runs_side_by_side_counts_once() -> None:
    done = [work(1012.0, 1030.0), work(1025.0, 1040.0)]
    found = habits(Lane.GPU, done, {"instances": [instance("i-1")]})
    assert found == Habits(speed=120.0 / 20.0, segment_speed=120.0 / 33.0, ready_s=20.0, beside_s=49.0 - 20.0)


def test_a_lane_learns_from_its_own_and_without_work_it_knows_nothing() -> None:
    assert habits(Lane.CPU, [work(1012.0, 1030.0)], {"instances": [instance("i-1")]}) == Habits()


def test_what_the_fleet_has_forgotten_teaches_speed_only() -> None:
    assert habits(Lane.GPU, [work(0.0, 30.0)], {}) == Habits(2.0, 2.0, None, None)


def test_a_worker_that_still_runs_does_not_tell_what_is_billed_beside() -> None:
    alive = instance("i-1", ended_at=None)
    assert habits(Lane.GPU, [work(1020.0, 1030.0)], {"instances": [alive]}).beside_s is None


def test_the_same_analyzers_are_asked_first() -> None:
    done = [work(1020.0, 1030.0), work(1030.0, 1050.0, analyzers=BOTH)]
    fleet = {"instances": [instance("i-1")]}
    assert habits(Lane.GPU, done, fleet, ("labels", "scenes")).speed == 3.0
    assert habits(Lane.GPU, done, fleet, ("labels",)).speed == 6.0
    assert habits(Lane.GPU, done, fleet, ("text",)).speed == 4.0


def test_an_estimate_is_what_the_same_work_took_before() -> None:
    done = [work(1012.0, 1030.0), work(1025.0, 1040.0)]
    told = estimate({Lane.GPU: [120.0]}, rates({"instances": [instance("i-1")]}, done, LABELS), Pricing())
    assert (told.seconds, told.machine_s, told.assumed) == (40.0, 49.0, ())
    assert told.cost_usd == pytest.approx(0.049)
