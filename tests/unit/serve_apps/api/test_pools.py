"""Health tells the truth about threads, and streams never take all there is."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from serve_apps.api.context import MOST_STREAMS_OF_ONE_KEY
from serve_apps.api.routes.operations import Threads
from serve_apps.store.keys import Scope
from tests.support.product.service import Running, problem


def test_stuck_threads_are_seen_by_readiness_at_once_and_by_liveness_in_the_end(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_apps.api.routes.operations._FREE_WITHIN_S", 0.05)
    gate = threading.Event()

    async def ask() -> list[int]:
        loop = asyncio.get_running_loop()
        occupied = [loop.run_in_executor(None, gate.wait, 30) for _ in range(64)]
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            codes = [(await http.get(path)).status_code for path in ("/v1/health", "/v1/ready")]
            monkeypatch.setattr("serve_apps.api.routes.operations._STUCK_AFTER_S", 0.0)
            codes.append((await http.get("/v1/health")).status_code)
            gate.set()
            await asyncio.gather(*occupied)
            return codes + [(await http.get(path)).status_code for path in ("/v1/health", "/v1/ready")]

    assert asyncio.run(ask()) == [200, 503, 503, 200, 200]


def test_threads_that_answer_are_not_stuck() -> None:
    now = [0.0]
    threads = Threads(lambda: now[0])
    now[0] = 50.0
    assert threads.stuck_s() == 50.0
    assert asyncio.run(threads.answer())
    assert threads.stuck_s() == 0.0


def test_a_key_has_so_many_streams_and_the_others_are_let_in(service: Running) -> None:
    analysis_id = service.submit()["id"]
    keys = service.service.keys
    greedy, token = keys.create("greedy", {Scope.READ, Scope.SUBMIT})
    hub = service.service.hub

    async def listen() -> list[Any]:
        streams = [hub.events(analysis_id, 0, greedy.id) for _ in range(MOST_STREAMS_OF_ONE_KEY)]
        for stream in streams:
            await anext(stream)
        own = {"Authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            refused = await http.get(f"/v1/analyses/{analysis_id}/events", headers=own)
            waiting = await http.post("/v1/images:analyze", json={"image": str(service.media)}, headers=own)
            health = await http.get("/v1/health")
        for stream in streams:
            await stream.aclose()
        return [refused, waiting, health]

    refused, waiting, health = asyncio.run(listen())
    assert "has 200 open streams" in problem(refused, 429, None)["detail"]
    problem(waiting, 429, None)
    assert health.status_code == 200
    assert hub.streams_of(greedy.id) == 0
