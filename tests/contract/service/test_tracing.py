"""Spans arrive at a collector as OTLP over HTTP says."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from serve_apps.monitoring.traces_otel import OpenTelemetryTraces, exporting_to
from tests.support.servers.http_server import running


class _Collector(ThreadingHTTPServer):
    got: list[ExportTraceServiceRequest]


class _Handler(BaseHTTPRequestHandler):
    server: _Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.got.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's output."""


@contextmanager
def collector() -> Iterator[_Collector]:
    server = _Collector(("127.0.0.1", 0), _Handler)
    server.got = []
    with running(server):
        yield server


async def _no_fleet() -> dict[str, object]:
    return {}


def test_spans_arrive_at_the_collector() -> None:
    with collector() as server:
        processor = exporting_to(f"http://127.0.0.1:{server.server_port}/")
        traces = OpenTelemetryTraces(processor, 1.0, lambda: 5.0, _no_fleet)
        with traces.request("POST /v1/analyses", "") as context:
            traces.planned(context, "an_1", 2.0, 3.0)
        traces.close()
        spans = [
            span
            for request in server.got
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
    assert {span.name for span in spans} == {"POST /v1/analyses", "queued", "plan"}
    (plan,) = [span for span in spans if span.name == "plan"]
    assert (plan.start_time_unix_nano, plan.end_time_unix_nano) == (3_000_000_000, 5_000_000_000)
    assert len({span.trace_id for span in spans}) == 1


def test_a_collector_that_is_away_stops_nothing() -> None:
    traces = OpenTelemetryTraces(exporting_to("http://127.0.0.1:9"), 1.0, lambda: 5.0, _no_fleet)
    with traces.request("POST /v1/analyses", "") as context:
        assert context.startswith("00-")
    traces.close()
