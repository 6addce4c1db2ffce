"""What Prometheus learns of machines and money: counted as it happens, the rest read at the moment of the scrape.

The orchestrator's own exposition; the API appends it to its own at /metrics. Labels take few values: clouds, scopes,
states, and the phases and causes that the code names.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from autoscaler.decisions.budget import ALL
from autoscaler.fleet.measures import CAUSES, OUTCOMES, Measures
from autoscaler.fleet.watch import STOPPED
from autoscaler.types import STRAY

_BOOT_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
_PHASES = ("bought", "image up", "joined", "Ray up", "model loaded")
_WINDOWS = {"hour": "burn_usd_per_hour", "day": "day_usd", "month": "month_usd"}
_ENDING, _OVER = "ending", ("ended", "failed")
LaneOf = Callable[[str], str]
disable_created_metrics()  # type: ignore[no-untyped-call]


class FleetMetrics(Measures):
    """A registry of its own. `watch` names what is read at each scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="aima_orchestrator", registry=self._registry)
        self._phases = Histogram(
            "aima_cold_start_phase_seconds",
            "Seconds from one boot phase to the next, the first from the wish for a machine.",
            ("cloud", "phase"),
            buckets=_BOOT_BUCKETS_S,
            registry=self._registry,
        )
        self._joined = Histogram(
            "aima_cold_start_seconds",
            "Seconds from the wish for a machine until it is a Ray node.",
            ("cloud",),
            buckets=_BOOT_BUCKETS_S,
            registry=self._registry,
        )
        self._over = Counter(
            "aima_launches",
            "Launches that are over: ended after they had joined, broken by their machine's fault, or unused.",
            ("cloud", "outcome"),
            registry=self._registry,
        )
        self._errors = Counter(
            "aima_cloud_errors",
            "Calls to clouds that failed, by the class of the error (autoscaler/errors.py), and odd rows of answers.",
            ("cloud", "cause"),
            registry=self._registry,
        )
        self._ticked = Gauge(
            "aima_reconciler_last_round_timestamp_seconds",
            "When the loop that buys and ends machines last went round, in Unix seconds.",
            registry=self._registry,
        )

    def booted(self, cloud: str, phase: str, seconds: float) -> None:
        self._phases.labels(cloud, phase).observe(seconds)

    def joined(self, cloud: str, seconds: float) -> None:
        self._joined.labels(cloud).observe(seconds)

    def launch_ended(self, cloud: str, outcome: str) -> None:
        self._over.labels(cloud, outcome).inc()

    def cloud_failed(self, cloud: str, cause: str) -> None:
        self._errors.labels(cloud, cause).inc()

    def ticked(self, at: float) -> None:
        self._ticked.set(at)

    def watch(
        self,
        fleet: Callable[[], Mapping[str, Any]],
        billed_s: Callable[[], Mapping[tuple[str, str], float]],
        lane_of: LaneOf,
    ) -> None:
        """Read these at each scrape; `lane_of` tells a node type's lane, "gpu" or "cpu".

        What can be counted of its clouds stands at zero from now on: Prometheus sees no increase in a first value.
        """
        for cloud in fleet()["clouds"]:
            for phase in _PHASES:
                self._phases.labels(cloud, phase)
            for outcome in OUTCOMES:
                self._over.labels(cloud, outcome)
            for cause in CAUSES:
                self._errors.labels(cloud, cause)
            self._joined.labels(cloud)
        self._registry.register(_Now(fleet, billed_s, lane_of))

    def render(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    def __init__(
        self,
        fleet: Callable[[], Mapping[str, Any]],
        billed_s: Callable[[], Mapping[tuple[str, str], float]],
        lane_of: LaneOf,
    ) -> None:
        self._fleet, self._billed_s, self._lane_of = fleet, billed_s, lane_of

    def describe(self) -> Iterable[Metric]:
        return ()  # the registry would otherwise collect once while all of it is being put together

    def collect(self) -> Iterable[Metric]:
        fleet = self._fleet()
        yield from _instances(fleet)
        yield from _clouds(fleet)
        yield from _money(fleet["clouds"], fleet["spending"])
        yield from _ledger(fleet["ledger"])
        yield from _bills(fleet["clouds"], fleet.get("bills") or ())
        billed = CounterMetricFamily(
            "aima_machine_billed_seconds",
            "Seconds of machines that clouds bill, from each purchase to the listing that omits it.",
            labels=("cloud", "lane"),
        )
        sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        for (cloud, node_type), seconds in self._billed_s().items():
            sums[cloud, "none" if node_type == STRAY else self._lane_of(node_type)] += seconds
        for (cloud, lane), seconds in sums.items():
            billed.add_metric((cloud, lane), seconds)
        yield billed


def _instances(fleet: Mapping[str, Any]) -> Iterable[Metric]:
    number = GaugeMetricFamily(
        "aima_instances", "Machines that exist, may exist or are wanted, by state.", labels=("cloud", "state")
    )
    ending = GaugeMetricFamily(
        "aima_instance_ending_seconds",
        "For how long the longest-ending machine has been ending; 0 when none is.",
        labels=("cloud",),
    )
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    longest: dict[str, float] = dict.fromkeys(fleet["clouds"], 0.0)
    for instance in fleet["instances"]:
        cloud, state = instance["cloud"] or "none", instance["state"]
        if state in _OVER:
            continue
        counts[cloud, state] += 1
        if state == _ENDING:
            longest[cloud] = max(longest.get(cloud, 0.0), instance["ending_s"] or 0.0)
    for labels, value in counts.items():
        number.add_metric(labels, value)
    for cloud, seconds in longest.items():
        ending.add_metric((cloud,), seconds)
    return number, ending


def _clouds(fleet: Mapping[str, Any]) -> Iterable[Metric]:
    degraded = GaugeMetricFamily(
        "aima_cloud_degraded", "1 while a cloud does not answer as it should.", labels=("cloud",)
    )
    stopped = GaugeMetricFamily(
        "aima_cloud_stopped", "1 while a cloud refuses until a person has mended it.", labels=("cloud",)
    )
    for cloud in fleet["clouds"]:
        said = fleet["degraded"].get(cloud, "")
        degraded.add_metric((cloud,), float(bool(said)))
        stopped.add_metric((cloud,), float(STOPPED in said))
    return degraded, stopped


def _ledger(ledger: Mapping[str, Any]) -> Iterable[Metric]:
    degraded, unwritten = bool(ledger["trouble"]), ledger["unwritten"]
    yield GaugeMetricFamily("aima_ledger_degraded", "1 while the ledger cannot be read or written.", float(degraded))
    told = "Launches and events that wait in memory until the ledger can be written."
    yield GaugeMetricFamily("aima_ledger_unwritten", told, float(unwritten))


def _money(clouds: Iterable[str], spending: Mapping[str, Any]) -> Iterable[Metric]:
    rate = GaugeMetricFamily(
        "aima_cost_usd_per_hour", "What all machines that are or may be billed cost an hour.", labels=("cloud",)
    )
    spent = GaugeMetricFamily(
        "aima_spent_usd", "What machines have cost this day and month (UTC).", labels=("cloud", "window")
    )
    limit = GaugeMetricFamily("aima_budget_usd", "The limit of a budget.", labels=("scope", "window"))
    left = GaugeMetricFamily(
        "aima_budget_left_usd",
        "What a budget leaves; of an hour, what may still be added to the rate.",
        labels=("scope", "window"),
    )
    nothing = dict.fromkeys(_WINDOWS.values(), 0.0)
    scopes = dict.fromkeys(clouds, nothing) | spending["scopes"]
    for scope, now in scopes.items():
        if scope != ALL:
            rate.add_metric((scope,), now["burn_usd_per_hour"])
            spent.add_metric((scope, "day"), now["day_usd"])
            spent.add_metric((scope, "month"), now["month_usd"])
    for scope, limits in spending["limits"].items():
        name = "all" if scope == ALL else scope
        for window, key in _WINDOWS.items():
            if (most := limits[f"per_{window}_usd"]) is not None:
                limit.add_metric((name, window), most)
                left.add_metric((name, window), most - scopes.get(scope, nothing)[key])
    return rate, spent, limit, left


def _bills(clouds: Iterable[str], bills: Iterable[Mapping[str, Any]]) -> Iterable[Metric]:
    difference = GaugeMetricFamily(
        "aima_bill_difference_usd",
        "All differences between a cloud's own bill and the ledger, machine by machine, of the last 35 days.",
        labels=("cloud",),
    )
    differs = GaugeMetricFamily(
        "aima_bill_differs", "1 while a cloud's bill differs by more than the settings allow.", labels=("cloud",)
    )
    checked = GaugeMetricFamily(
        "aima_bill_checked_timestamp_seconds", "When a cloud's bill was last read, in Unix seconds.", labels=("cloud",)
    )
    nothing = {cloud: {"difference_usd": 0.0, "exceeds": False, "checked_at": None} for cloud in clouds}
    for cloud, bill in (nothing | {bill["cloud"]: dict(bill) for bill in bills}).items():
        difference.add_metric((cloud,), bill["difference_usd"])
        differs.add_metric((cloud,), float(bill["exceeds"]))
        checked.add_metric((cloud,), bill["checked_at"] or 0.0)
    return difference, differs, checked
