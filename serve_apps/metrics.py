"""What Prometheus scrapes: requests as they happen, the rest as it is at the moment of the scrape."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serve_apps.analyses import AnalysisState, Lane, SegmentState, live_instances
from serve_apps.event_hub import EventHub
from serve_apps.listing import counts
from serve_apps.store import Store

CONTENT_TYPE = CONTENT_TYPE_LATEST
T = TypeVar("T")


class Metrics:
    """A registry of its own: two apps in one process do not share it."""

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._registry = CollectorRegistry()
        self._requests = self._add(Counter, "http_requests", "Requests answered.", "method", "route", "status")
        self._seconds = self._add(Histogram, "http_request_seconds", "Until the answer began.", "route")
        self._analyses = self._add(Gauge, "analyses", "Analyses by state.", "state")
        self._segments = self._add(Gauge, "segments", "Segments that have not ended.", "lane", "state")
        self._streams = self._add(Gauge, "event_streams", "Open event streams.")
        self._instances = self._add(Gauge, "instances", "Instances that exist or may exist.", "cloud", "state")
        self._usd_per_hour = self._add(Gauge, "usd_per_hour", "What the bought instances cost an hour.")

    def _add(self, kind: Callable[..., T], name: str, meaning: str, *labels: str) -> T:
        return kind(f"aima_{name}", meaning, labels, registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is the template, not the path: paths are without number."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def render(self, store: Store, fleet: Mapping[str, Any]) -> bytes:
        """The exposition. Reads the database."""
        now = counts(store.engine)
        for state in AnalysisState:
            self._analyses.labels(state.value).set(now["analyses"].get(state.value, 0))
        for lane in Lane:
            for waiting in (SegmentState.PENDING, SegmentState.LEASED):
                number = now["segments"].get(f"{lane} {waiting}", 0)
                self._segments.labels(lane.value, waiting.value).set(number)
        self._streams.set(self._hub.open_streams)
        self._instances.clear()
        live = live_instances(fleet)
        for instance in live:
            self._instances.labels(instance.get("cloud") or "none", instance["state"]).inc()
        bought = [i for i in live if i["state"] == "bought"]
        self._usd_per_hour.set(sum(float(i.get("price_usd_per_hour") or 0.0) for i in bought))
        return generate_latest(self._registry)
