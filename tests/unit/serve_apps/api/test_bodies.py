"""Bodies of strangers: the key first, then the size, then the rest; and no end of wrong keys."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from serve_apps.api.app import create_app
from serve_apps.api.middleware import BodyLimits
from serve_apps.store.keys import Scope
from tests.support.product.service import BEARER, Running, build_prober, problem

CHUNK = bytes(1 << 16)
WITH_BODIES = (
    "/v1/analyses",
    "/v1/estimates",
    "/v1/images:analyze",
    "/v1/uploads",
    "/v1/uploads/up_0/parts/1",
    "/nowhere",
)


class Sender:
    """A client that sends a body without an end, and counts what was read of it."""

    def __init__(self, service: Running, limits: BodyLimits | None = None) -> None:
        self._app = create_app(service.service, build_prober(), body_limits=limits or BodyLimits())
        self.read_bytes = 0

    def post(self, path: str, headers: dict[str, str], chunks: Iterator[bytes] | None = None) -> tuple[int, Any]:
        async def answered() -> tuple[int, Any]:
            sent: list[Any] = []

            async def receive() -> dict[str, Any]:
                chunk = next(chunks, None) if chunks is not None else CHUNK
                if chunk is None:
                    await asyncio.Event().wait()  # silence
                self.read_bytes += len(chunk or b"")
                return {"type": "http.request", "body": chunk, "more_body": True}

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "PUT" if "/parts/" in path else "POST",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "scheme": "http",
                "client": ("203.0.113.7", 1),
                "server": ("testserver", 80),
                "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            }
            await self._app(scope, receive, send)
            return sent[0]["status"], json.loads(sent[1]["body"])

        return asyncio.run(answered())


@pytest.mark.parametrize("path", WITH_BODIES)
@pytest.mark.parametrize("length", [{"Transfer-Encoding": "chunked"}, {"Content-Length": str(60 << 20)}])
def test_nothing_of_a_body_is_read_before_its_sender_is_known(
    service: Running, path: str, length: dict[str, str]
) -> None:
    sender = Sender(service)
    for key in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic wrong"}, {"Authorization": "Bearer "}):
        status, told = sender.post(path, length | key | {"Content-Type": "application/json"})
        assert (status, told["status"]) == (401, 401)
    assert sender.read_bytes == 0


@pytest.mark.parametrize("path", WITH_BODIES)
def test_a_body_that_is_too_long_is_refused_before_or_as_soon_as_it_is(service: Running, path: str) -> None:
    limits = BodyLimits(*[100_000] * 5)
    sender = Sender(service, limits)
    status, _told = sender.post(path, BEARER | {"Content-Length": "100001", "Content-Type": "application/json"})
    assert (status, sender.read_bytes) == (413, 0)
    if path in ("/nowhere", "/v1/uploads/up_0/parts/1"):
        return  # nothing reads it
    status, told = sender.post(path, BEARER | {"Transfer-Encoding": "chunked", "Content-Type": "application/json"})
    assert status == 413
    assert "bytes" in told["detail"]
    assert sender.read_bytes <= 100_000 + len(CHUNK)


def test_limits_are_by_route() -> None:
    limits = BodyLimits()
    assert limits.of("/v1/analyses", "application/json") > 1000 * 8192
    assert limits.of("/v1/images:analyze", "application/json") == limits.of("/v1/keys", "") == limits.other_bytes
    assert limits.of("/v1/images:analyze", "image/png") == 32 << 20
    assert limits.of("/v1/uploads/up_1/parts/3", "") > limits.image_bytes


def test_a_body_that_stops_coming_is_not_waited_for(service: Running) -> None:
    sender = Sender(service, BodyLimits(silence_s=0.05))
    headers = BEARER | {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    status, told = sender.post("/v1/analyses", headers, iter([b'{"media": '] * 3))
    assert (status, "0.05 s" in told["detail"]) == (408, True)


def test_wrong_keys_are_limited_by_source_and_right_ones_are_let_in(service: Running) -> None:
    _key, token = service.service.keys.create("a reader", {Scope.READ})
    mine = {"Authorization": f"Bearer {token}"}
    assert service.http.get("/v1/analyses", headers=mine).status_code == 200
    asked: list[str] = []
    find = service.service.keys.find
    service.service.gate._keys.find = lambda t: asked.append(t) or find(t)  # type: ignore[method-assign, func-returns-value, assignment]
    answers = [service.http.get("/v1/analyses", headers={"Authorization": f"Bearer guess-{n}"}) for n in range(100)]
    assert [reply.status_code for reply in answers[:30]] == [401] * 30
    told = problem(answers[-1], 429, None)
    assert "too many keys" in told["detail"]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert len(asked) <= 31  # the database was not asked any more
    assert service.http.get("/v1/analyses", headers=mine).status_code == 200
    assert service.http.get("/v1/health").status_code == 200
    service.clock[0] += 60
    assert service.http.get("/v1/analyses", headers={"Authorization": "Bearer guess"}).status_code == 401
