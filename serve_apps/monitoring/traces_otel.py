"""Traces by OpenTelemetry. Workers send nothing: machines of strangers reach no collector. What they report of their
time, and what the fleet knows of their start, is written down here when a segment has ended."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serve_apps.monitoring.traces import Course, Traces
from serve_apps.queue.contract import ClaimedSegment

_log = logging.getLogger(__name__)
_PROPAGATOR = TraceContextTextMapPropagator()
Fleet = Callable[[], Awaitable[Mapping[str, Any]]]


def exporting_to(endpoint: str) -> SpanProcessor:
    """Sends spans in batches to a collector's OTLP/HTTP address, such as http://collector:4318."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=2))


class OpenTelemetryTraces(Traces):
    """`sample` is the share of traces kept, of those whose caller has not decided; `clock` gives epoch seconds."""

    def __init__(self, processor: SpanProcessor, sample: float, clock: Callable[[], float], fleet: Fleet) -> None:
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(sample), resource=Resource.create({"service.name": "aima"})
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("aima")
        self._clock, self._fleet = clock, fleet
        self._finishing: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        return self._clock()

    @contextlib.contextmanager
    def request(self, name: str, traceparent: str) -> Iterator[str]:
        with self._tracer.start_as_current_span(name, context=_context(traceparent), kind=trace.SpanKind.SERVER):
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier)
            yield carrier.get("traceparent", "")

    def planned(self, traceparent: str, analysis_id: str, created_at: float, began_at: float, error: str = "") -> None:
        context, facts = _context(traceparent), {"aima.analysis": analysis_id}
        self.past("queued", context, created_at, began_at, facts)
        self.past("plan", context, began_at, self._clock(), facts, error)

    def course(self, segment: ClaimedSegment) -> Course:
        return _Course(self, segment)

    def past(
        self,
        name: str,
        context: Context,
        begin: float,
        end: float,
        facts: Mapping[str, Any],
        error: str = "",
    ) -> Context:
        """A span that is over, by epoch seconds; its own context, for what lies within."""
        span = self._tracer.start_span(name, context, attributes=dict(facts), start_time=_ns(begin))
        if error:
            span.set_status(trace.Status(trace.StatusCode.ERROR, error))
        span.end(_ns(max(begin, end)))
        return trace.set_span_in_context(span, context)

    def finish(self, course: "_Course") -> None:
        """Write a segment's spans as soon as the fleet has said how its machine started."""
        task = asyncio.create_task(self._finish(course))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, course: "_Course") -> None:
        try:
            course.write(await self._fleet())
        except Exception:
            _log.exception("a trace could not be written")

    async def finished(self) -> None:
        """All spans of ended segments are written."""
        await asyncio.gather(*self._finishing)

    def close(self) -> None:
        self._provider.shutdown()


class _Course(Course):
    def __init__(self, traces: OpenTelemetryTraces, segment: ClaimedSegment) -> None:
        self._traces, self._parent = traces, _context(segment.traceparent)
        self._claimed_at = self._ended_at = traces.now()
        self._first_frame_at: float | None = None
        self._began_at: float | None = None
        self._error, self._instance = "", ""
        key = segment.key
        self._facts: dict[str, Any] = {
            "aima.analysis": key.analysis_id,
            "aima.segment": f"{key.media_index}/{key.segment_index} {key.lane}",
            "aima.attempt": segment.attempts + 1,
        }

    def step(self, step: Mapping[str, Any]) -> None:
        now = self._traces.now()
        self._instance = step["instance"]
        if "report" not in step:
            self._first_frame_at = now
        else:
            self._began_at = max(self._claimed_at, now - step["busy_s"])
            self._facts["aima.frames"] = step["report"]["frames"]

    def failed(self, cause: str) -> None:
        self._error = cause

    def end(self) -> None:
        self._ended_at = self._traces.now()
        self._traces.finish(self)

    def write(self, fleet: Mapping[str, Any]) -> None:
        """The spans, outermost first."""
        traces, end = self._traces, self._ended_at
        facts = self._facts | ({"aima.instance": self._instance} if self._instance else {})
        whole = traces.past("segment", self._parent, self._claimed_at, end, facts, self._error)
        first = self._first_frame_at or end
        began = min(self._began_at if self._began_at is not None else first, first)
        waiting = traces.past("wait for a worker", whole, self._claimed_at, began, facts)
        for instance in fleet.get("instances", ()):
            if instance["name"] == self._instance:
                self._write_start(waiting, instance)
        if self._first_frame_at is not None:
            traces.past("open and decode to the first frame", whole, began, first, facts)
            traces.past("analyse and store", whole, first, end, facts, self._error)

    def _write_start(self, waiting: Context, instance: Mapping[str, Any]) -> None:
        """How its machine came to be, unless it was there already."""
        wanted_at, boot_s = instance["wanted_at"], instance["boot_s"]
        if boot_s is None or wanted_at + boot_s <= self._claimed_at:
            return
        facts = {"aima.instance": self._instance, "cloud.provider": instance["cloud"] or ""}
        if instance["price_usd_per_hour"] is not None:
            facts["aima.usd_per_hour"] = instance["price_usd_per_hour"]
        moments = {**instance["phases"], "Ray up": boot_s}
        if instance["bought_at"] is not None:
            moments["bought"] = max(0.0, instance["bought_at"] - wanted_at)
        moments = {name: at for name, at in moments.items() if at <= boot_s}
        start = self._traces.past("start a machine", waiting, wanted_at, wanted_at + boot_s, facts)
        reached = wanted_at
        for name, at in sorted(moments.items(), key=lambda item: item[1]):
            self._traces.past(name, start, reached, wanted_at + at, facts)
            reached = max(reached, wanted_at + at)


def _context(traceparent: str) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent}, Context())


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
