"""One trace from the request to the stored segment: through the API, the database and the dispatcher."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipelines import logs
from pipelines.errors import MediaError
from serve_apps.analyses import Lane
from serve_apps.api.app import create_app
from serve_apps.monitoring.traces import Traces, trace_id
from serve_apps.monitoring.traces_otel import OpenTelemetryTraces
from serve_apps.work.dispatch_policy import DispatchPolicy
from serve_apps.work.dispatcher import Dispatcher
from tests.support.product.service import BEARER, INFO, Running, build_prober

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
POLICY = DispatchPolicy(
    storage_uri="/results", max_workers={Lane.GPU: 1}, segments_per_worker={Lane.GPU: 2}, poll_s=0.01
)
WORKER: dict[str, Any] = {
    "name": "i-1",
    "node_type": "gpu",
    "cloud": "runpod",
    "state": "bought",
    "phase": "a Ray node",
}
WORKER |= {"boot_s": 30.0, "price_usd_per_hour": 0.74, "cost_usd": 0.1, "ended_at": None}


class Followed:
    """A service that traces into memory, and a dispatcher on its database."""

    def __init__(self, service: Running) -> None:
        self.running, self.spans = service, InMemorySpanExporter()
        self.traces = OpenTelemetryTraces(
            SimpleSpanProcessor(self.spans), 1.0, lambda: service.clock[0], service.fleet.reader()
        )
        made = replace(service.service, traces=self.traces)
        app = create_app(made, build_prober())
        self.http = type(service.http)(app, headers=BEARER)
        self.tasks: list[Mapping[str, Any]] = []

    def submit(self, **headers: str) -> str:
        body = {"media": str(self.running.media), "analyzers": ["labels"]}
        reply = self.http.post("/v1/analyses", json=body, headers=headers)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    async def work(self, task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """A worker whose machine boots for 30 s, then works for 4 s."""
        self.tasks.append(task)
        clock = self.running.clock
        wanted_at = clock[0] + 1
        phases = {"image up": 20.0, "joined": 21.0, "Ray up": 30.0, "model loaded": 33.0}
        machine = WORKER | {"wanted_at": wanted_at, "bought_at": wanted_at + 2, "phases": phases}
        self.running.fleet.view["instances"] = [machine]
        clock[0] += 35
        yield {"instance": "i-1"}
        clock[0] += 3
        if self.running.media.read_bytes() == b"broken":
            raise MediaError("/m/clip.mp4", "damaged", 3.0)
        yield {"report": {"frames": 20}, "instance": "i-1", "busy_s": 4.0}

    def dispatch(self, analysis_id: str, traces: Traces | None = None) -> None:
        """Until the analysis has ended."""
        chosen = self.traces if traces is None else traces

        async def run() -> None:
            stop = asyncio.Event()
            dispatcher = Dispatcher(
                self.running.queue,
                {Lane.GPU: self.work},
                lambda _uri: INFO,
                POLICY,
                "me",
                lambda _name: "gpu",
                traces=chosen,
            )
            working = asyncio.create_task(dispatcher.run(stop))
            while (self.running.service.store.get(analysis_id)).finished_at is None:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            stop.set()
            dispatcher.wake()
            await working
            await self.traces.finished()

        asyncio.run(run())

    def by_name(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.spans.get_finished_spans()}


@pytest.fixture
def followed(service: Running) -> Iterator[Followed]:
    made = Followed(service)
    yield made
    made.traces.close()


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def parent(span: ReadableSpan, spans: Mapping[str, ReadableSpan]) -> str:
    """The name of the span that it lies in, "caller" for the caller's."""
    assert span.parent is not None
    names = {other.context.span_id: name for name, other in spans.items() if other.context is not None}
    return names.get(span.parent.span_id, "caller")


def test_a_trace_tells_where_the_time_went(followed: Followed) -> None:
    analysis_id = followed.submit(traceparent=CALLER)
    followed.running.clock[0] += 2
    followed.dispatch(analysis_id)
    spans = followed.by_name()
    assert {span.context.trace_id for span in spans.values() if span.context} == {int(CALLER.split("-")[1], 16)}
    assert {name: parent(span, spans) for name, span in spans.items()} == {
        "POST /v1/analyses": "caller",
        "queued": "POST /v1/analyses",
        "plan": "POST /v1/analyses",
        "segment": "POST /v1/analyses",
        "wait for a worker": "segment",
        "start a machine": "wait for a worker",
        "bought": "start a machine",
        "image up": "start a machine",
        "joined": "start a machine",
        "Ray up": "start a machine",
        "open and decode to the first frame": "segment",
        "analyse and store": "segment",
    }
    took = {name: seconds(span) for name, span in spans.items()}
    assert took["queued"] == pytest.approx(2)
    assert took["segment"] == pytest.approx(38)
    assert took["wait for a worker"] == pytest.approx(34)
    assert took["start a machine"] == pytest.approx(30)
    assert (took["bought"], took["image up"], took["joined"], took["Ray up"]) == pytest.approx((2, 18, 1, 9))
    assert took["open and decode to the first frame"] == pytest.approx(1)
    assert took["analyse and store"] == pytest.approx(3)
    facts = spans["segment"].attributes
    assert facts is not None
    assert (facts["aima.analysis"], facts["aima.segment"], facts["aima.instance"]) == (analysis_id, "0/0 gpu", "i-1")


def test_without_a_caller_a_trace_begins_with_the_request(followed: Followed) -> None:
    followed.dispatch(followed.submit(traceparent="not one"))
    spans = followed.by_name()
    assert spans["POST /v1/analyses"].parent is None
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1


def test_what_a_caller_does_not_sample_is_not_written(followed: Followed) -> None:
    followed.dispatch(followed.submit(traceparent=CALLER.removesuffix("01") + "00"))
    assert followed.by_name() == {}


def test_a_damaged_segment_is_an_error_in_its_trace(followed: Followed) -> None:
    followed.running.media.write_bytes(b"broken")
    followed.dispatch(followed.submit())
    status = followed.by_name()["segment"].status
    assert not status.is_ok
    assert status.description == "clip.mp4: damaged (at 3.000 s)"


def test_a_machine_that_was_there_already_is_not_in_the_trace(followed: Followed) -> None:
    followed.dispatch(followed.submit())
    first, second = followed.by_name(), followed.submit()
    assert "start a machine" in first
    followed.spans.clear()

    async def warm(task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        followed.running.clock[0] += 1
        yield {"instance": "i-1"}
        yield {"report": {"frames": 20}, "instance": "i-1", "busy_s": 1.0}

    followed.work = warm  # type: ignore[method-assign]
    followed.dispatch(second)
    assert "start a machine" not in followed.by_name()
    assert "analyse and store" in followed.by_name()


def test_off_nothing_is_stored_and_nothing_sent_to_workers(followed: Followed, service: Running) -> None:
    analysis_id = service.submit()["id"]
    followed.dispatch(analysis_id, Traces())
    stored = service.service.store.get(analysis_id)
    assert stored is not None
    assert stored.traceparent is None
    assert "trace" not in followed.tasks[0]["about"]
    assert followed.by_name() == {}


def test_every_line_of_the_log_is_about_the_analysis(followed: Followed, tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("api", "json", path=tmp_path / "api.log")
    try:
        analysis_id = followed.submit(traceparent=CALLER)
        followed.dispatch(analysis_id)
    finally:
        for handler in [h for h in root.handlers if h not in before[0]]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before[1])
    everything = [json.loads(line) for line in (tmp_path / "api.log").read_text().splitlines()]
    told = [line for line in everything if line["logger"].startswith("serve_apps.")]
    assert [line["message"].split(" in ")[0].split(" after ")[0] for line in told] == [
        "accepted: 1 media for labels",
        "cut into 1 segments",
        "waits for a worker",
        "its first frame is decoded",
        "done",
        "succeeded",
    ]
    assert {line["analysis"] for line in told} == {analysis_id}
    assert {line.get("trace") for line in told[2:]} == {trace_id(CALLER)}
    assert told[3]["instance"] == "i-1"
    assert followed.tasks[0]["about"] == {"analysis": analysis_id, "segment": "0/0 gpu", "trace": trace_id(CALLER)}
