"""What Prometheus scrapes: requests and segments as they happen, the rest as it is at the moment of the scrape."""

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serve_apps.analyses import Lane
from serve_apps.monitoring.measures import CAUSES, Measures, UsefulTime
from serve_apps.store.backlog import Backlog

CONTENT_TYPE = CONTENT_TYPE_LATEST
disable_created_metrics()  # type: ignore[no-untyped-call] # they double the series and answer nothing
_BUSY_BUCKETS_S = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
T = TypeVar("T")


@dataclass(frozen=True)
class Memory:
    """What the head's processes hold and may hold, in bytes."""

    used: int
    limit: int


class Metrics(Measures):
    """A registry of its own: two apps in one process do not share it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._registry = CollectorRegistry()
        self._useful = UsefulTime(monotonic)
        self._count_requests()
        self._count_segments()
        self._analyses = self._add(Gauge, "analyses", "Analyses by state.", "state")
        self._depth = self._add(
            Gauge,
            "queue_depth",
            "What waits: analyses to be planned, and by lane the segments whose first frame is not decoded yet.",
            "queue",
        )
        self._age = self._add(
            Gauge, "queue_oldest_age_seconds", "How long the oldest of a queue has been waiting; 0: none.", "queue"
        )
        self._running = self._add(Gauge, "segments_running", "Segments that machines work on.", "lane")
        self._streams = self._add(Gauge, "event_streams", "Open event streams.")
        self._orchestrator_up = self._add(Gauge, "orchestrator_up", "1 while the orchestrator answers, else 0.")
        self._memory = self._add(Gauge, "head_memory_bytes", "What the head's processes hold.")
        self._memory_limit = self._add(Gauge, "head_memory_limit_bytes", "What they may hold.")

    def _count_requests(self) -> None:
        self._requests = self._add(Counter, "http_requests", "Requests answered.", "method", "route", "status")
        self._seconds = self._add(Histogram, "http_request_duration_seconds", "Until the answer began.", "route")

    def _count_segments(self) -> None:
        self._segments = self._add(
            Counter, "segments", "Segments that have been done, failed, or are tried again.", "lane", "outcome"
        )
        self._media_s = self._add(Counter, "segment_media_seconds", "Seconds of media that have been analysed.", "lane")
        self._busy = self._add(
            Histogram, "segment_duration_seconds", "How long a done segment took.", "lane", buckets=_BUSY_BUCKETS_S
        )
        self._errors = self._add(Counter, "errors", "What failed, by stage and cause.", "stage", "cause")
        for lane in Lane:  # from zero on: an increase is seen from the first one
            for outcome in ("done", "retried", "failed"):
                self._segments.labels(lane.value, outcome)
            self._media_s.labels(lane.value)
        for stage in ("plan", "segment", "chore"):
            for cause in CAUSES:
                self._errors.labels(stage, cause)
        self._registry.register(_Useful(self._useful))

    def _add(self, kind: Callable[..., T], name: str, meaning: str, *labels: str, **more: Any) -> T:
        return kind(f"aima_{name}", meaning, labels, registry=self._registry, **more)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is the template, not the path: paths are without number."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def began(self, key: Hashable, lane: Lane, instance: str) -> None:
        self._useful.begin(key, lane, instance)

    def left(self, key: Hashable) -> None:
        self._useful.end(key)

    def done(self, lane: Lane, media_s: float, busy_s: float) -> None:
        self._segments.labels(lane.value, "done").inc()
        self._media_s.labels(lane.value).inc(media_s)
        self._busy.labels(lane.value).observe(busy_s)

    def failed(self, lane: Lane, cause: str, final: bool) -> None:
        self._segments.labels(lane.value, "failed" if final else "retried").inc()
        self.erred("segment", cause)

    def erred(self, stage: str, cause: str) -> None:
        self._errors.labels(stage, cause).inc()

    def render(self, now: float, found: Backlog, streams: int, memory: Memory | None, of_fleet: bytes) -> bytes:
        """The exposition, the orchestrator's own `of_fleet` (b"": it does not answer) after ours."""
        for state, number in found.analyses.items():
            self._analyses.labels(state).set(number)
        for queue, (number, oldest) in found.waiting.items():
            self._depth.labels(queue).set(number)
            self._age.labels(queue).set(0.0 if oldest is None else max(0.0, now - oldest))
        for lane, number in found.running.items():
            self._running.labels(lane).set(number)
        self._streams.set(streams)
        self._orchestrator_up.set(bool(of_fleet))
        if memory is not None:
            self._memory.set(memory.used)
            self._memory_limit.set(memory.limit)
        return generate_latest(self._registry) + of_fleet


class _Useful(Collector):
    def __init__(self, useful: UsefulTime) -> None:
        self._useful = useful

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "aima_machine_useful_seconds",
            "Seconds in which machines worked on a segment of an analysis: of billed ones, what was worth it.",
            labels=("lane",),
        )
        for lane, seconds in self._useful.totals().items():
            family.add_metric((lane.value,), seconds)
        yield family
