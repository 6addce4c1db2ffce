"""What /metrics answers after a little of everything has happened: the service's part and the orchestrator's."""

import asyncio
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.errors import KeyRefused
from autoscaler.fleet.measures import cause_of
from autoscaler.types import STRAY
from cluster.orchestrator.metrics import FleetMetrics
from serve_apps.analyses import Lane
from serve_apps.monitoring.metrics import Memory
from tests.support.product.service import Running

FLEET: dict[str, Any] = {
    "clouds": ["local", "runpod"],
    "instances": [
        {"cloud": "runpod", "state": "bought", "ending_s": None},
        {"cloud": "runpod", "state": "ending", "ending_s": 40.0},
        {"cloud": "runpod", "state": "ending", "ending_s": 90.0},
        {"cloud": None, "state": "wanted", "ending_s": None},
        {"cloud": "local", "state": "ended", "ending_s": 3.0},
    ],
    "degraded": {"runpod": "STOPPED, nothing is bought here until this is mended: the key was refused"},
    "ledger": {"trouble": "", "unwritten": 0},
    "spending": {
        "scopes": {
            "runpod": {"burn_usd_per_hour": 2.0, "day_usd": 3.0, "month_usd": 60.0},
            "all clouds": {"burn_usd_per_hour": 2.0, "day_usd": 3.0, "month_usd": 60.0},
        },
        "limits": {
            "all clouds": {"per_hour_usd": 3.0, "per_day_usd": None, "per_month_usd": 100.0},
            "vastai": {"per_hour_usd": None, "per_day_usd": 5.0, "per_month_usd": None},
        },
        "warnings": [],
    },
}
BILLED_S = {("runpod", "gpu"): 7200.0, ("runpod", STRAY): 60.0, ("local", "cpu"): 5.0}


def fleet_exposition() -> bytes:
    """The orchestrator's, after a cold start and a refused key."""
    metrics = FleetMetrics()
    metrics.watch(lambda: FLEET, lambda: BILLED_S, lambda node_type: node_type)
    for phase, seconds in (
        ("bought", 1.5),
        ("image up", 24.0),
        ("joined", 0.4),
        ("Ray up", 3.0),
        ("model loaded", 4.0),
    ):
        metrics.booted("runpod", phase, seconds)
    metrics.joined("runpod", 28.9)
    metrics.launch_ended("runpod", "ended")
    metrics.cloud_failed("runpod", cause_of(KeyRefused("no")))
    metrics.ticked(1_700_000_000.0)
    return metrics.render()


def exposition(service: Running) -> str:
    """All of it, read as Prometheus would."""
    metrics = service.service.metrics
    metrics.began("s", Lane.GPU, "i-1")
    metrics.done(Lane.GPU, media_s=60.0, busy_s=12.0)
    metrics.failed(Lane.GPU, "memory", final=False)
    object.__setattr__(service.service, "head_memory", lambda: Memory(700 << 20, 1280 << 20))
    object.__setattr__(service.service, "fleet_metrics", lambda: asyncio.sleep(0, fleet_exposition()))
    return str(service.http.get("/metrics").text)


def families(text: str) -> dict[str, Metric]:
    """Metric families by name, as Prometheus's own parser reads them."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text: str) -> dict[str, float]:
    """Every sample by name and sorted labels, such as `aima_instances{cloud="runpod",state="bought"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found
