"""What an analysis may cost and how long it may take, from what was measured here. Values in, values out."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_apps.analyses import Lane
from serve_apps.store.throughput import Habits, Work, habits
from serve_apps.work.pricing import Pricing

# Until something has been measured: media seconds per second of a worker.
ASSUMED_SPEED = 2.0
_ASSUMED_BOOT_S = 60.0
_PRICES = 20


@dataclass(frozen=True)
class Rates:
    """What is known of a lane: its workers' habits, the price of one, and how long it takes to boot; None: nothing."""

    habits: Habits
    price_usd_per_hour: float | None
    boot_s: float | None

    @property
    def ready_s(self) -> float | None:
        """From the wish for a worker to its first frame; its boot where no more is known."""
        return self.boot_s if self.habits.ready_s is None else self.habits.ready_s


@dataclass(frozen=True)
class Estimate:
    """`seconds` from request to end, `machine_s` billed in all; `cost_usd` is None while a price is unknown.

    `assumed` names what was not measured here yet.
    """

    seconds: float
    machine_s: float
    cost_usd: float | None
    assumed: tuple[str, ...]


def rates(fleet: Mapping[str, Any], work: Sequence[Work], analyzers: Iterable[str] = ()) -> dict[Lane, Rates]:
    """Each lane's rates by the fleet's view of its latest instances and by their work, with these analyzers at best."""
    wanted = frozenset(analyzers)
    return {lane: _rates(fleet, lane, habits(lane, work, fleet, wanted)) for lane in Lane}


def _rates(fleet: Mapping[str, Any], lane: Lane, known: Habits) -> Rates:
    mine = [i for i in fleet.get("instances", ()) if (i.get("node_type") == Lane.CPU) == (lane is Lane.CPU)]
    prices = [i["price_usd_per_hour"] for i in mine if i.get("price_usd_per_hour") is not None][-_PRICES:]
    boots = [i["boot_s"] for i in mine if i.get("boot_s") is not None][-_PRICES:]
    boot_s = statistics.median(boots) if boots else fleet.get("usual_boot_s")
    return Rates(known, statistics.median(prices) if prices else None, boot_s)


def estimate(media_s: Mapping[Lane, Sequence[float]], known: Mapping[Lane, Rates], pricing: Pricing) -> Estimate:
    """What media of these seconds takes on each lane: lanes run side by side, boot and idle tail are billed too."""
    assumed: list[str] = []
    seconds = machine_s = 0.0
    cost: float | None = 0.0
    for lane, durations in media_s.items():
        rate = known[lane]
        assumed += _assumptions(lane, rate)
        lane_s, billed_s = _lane(sum(durations), rate, pricing, pricing.max_workers.get(lane, 1))
        seconds = max(seconds, lane_s)
        machine_s += billed_s
        price = rate.price_usd_per_hour
        cost = None if cost is None or price is None else cost + billed_s * price / 3600
    return Estimate(round(seconds, 1), round(machine_s, 1), None if cost is None else round(cost, 6), tuple(assumed))


def _lane(media_s: float, rate: Rates, pricing: Pricing, max_workers: int) -> tuple[float, float]:
    """Seconds until all of it is done, and machine seconds that are billed for it."""
    workers = max(1, min(max_workers, math.ceil(media_s / pricing.media_s_per_worker)))
    ready_s = _ASSUMED_BOOT_S if rate.ready_s is None else rate.ready_s
    beside_s = rate.habits.beside_s
    work_s = media_s / (rate.habits.speed or ASSUMED_SPEED)
    billed_beside_s = ready_s + pricing.idle_limit_s if beside_s is None else beside_s
    return ready_s + work_s / workers, workers * billed_beside_s + work_s


def _assumptions(lane: Lane, rate: Rates) -> list[str]:
    found = []
    if rate.habits.speed is None:
        found.append(f"speed of a {lane.upper()} worker: {ASSUMED_SPEED:g} seconds of media a second")
    if rate.ready_s is None:
        found.append(f"boot of a {lane.upper()} worker: {_ASSUMED_BOOT_S:g} s")
    if rate.price_usd_per_hour is None:
        found.append(f"no price of a {lane.upper()} worker is known yet")
    return found
