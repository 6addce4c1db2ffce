"""One contract over every way for tickets: hints arrive, and whatever happens to them loses and doubles nothing."""

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from cluster.storage import tickets as ways
from cluster.storage.tickets import open_tickets
from serve_apps.analyses import AnalysisState, Lane
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.queue.tickets import TicketOffice, Tickets
from serve_apps.store.analysis_store import Analysis, Store, Submission
from serve_apps.work.dispatch_policy import DispatchPolicy
from serve_apps.work.dispatcher import Dispatcher
from tests.contract.databases import postgresql_schema, sqlite
from tests.support.product.service import INFO
from tests.waiting import wait_until

BROKERS = {
    "rabbitmq": os.environ.get("AIMA_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//"),
    "redis": os.environ.get("AIMA_TEST_REDIS_URL", "redis://127.0.0.1:6379/15"),
}


@pytest.fixture(params=["database", "rabbitmq", "redis", "sqs"])
def way(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Engine]]:
    """The URL of a way and a database; the channel has a name of its own."""
    monkeypatch.setattr(ways, "_CHANNEL", f"aima_test_{secrets.token_hex(4)}")
    if request.param == "database":
        with postgresql_schema() as engine:
            yield "", engine
        return
    engine = sqlite(tmp_path)
    if request.param == "sqs":
        with sqs(monkeypatch) as url:
            yield url, engine
    else:
        _require(request.param)
        yield BROKERS[request.param], engine
        _remove(BROKERS[request.param])
    engine.dispose()


@contextmanager
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's HTTP server in this process."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"sqs://testing:testing@{host}:{port}"
    server.stop()


def _require(name: str) -> None:
    parts = urlsplit(BROKERS[name])
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), 2).close()
    except OSError:
        if os.environ.get("REQUIRE_SERVICES"):
            raise
        pytest.skip(f"no {name} answers at {parts.hostname}:{parts.port}")


def _remove(url: str) -> None:
    from kombu import Connection  # noqa: PLC0415

    with Connection(url) as connection:
        connection.default_channel.queue_delete(ways._CHANNEL)


@contextmanager
def office(tickets: Tickets, heard: Any) -> Iterator[TicketOffice]:
    opened = TicketOffice(tickets, heard)
    opened.start()
    try:
        yield opened
    finally:
        opened.stop(20)


def test_a_ticket_is_heard_by_another_process_soon(way: tuple[str, Engine]) -> None:
    url, engine = way
    heard: list[str] = []
    sender = open_tickets(url, engine)

    def sent_and_heard() -> bool:  # who only just began to listen may miss one: they are hints
        sender.send("an_0123456789abcdef")
        return bool(heard)

    with office(open_tickets(url, engine), heard.append):
        wait_until("a ticket is heard", sent_and_heard, every_s=0.2)
    sender.close()
    assert set(heard) == {"an_0123456789abcdef"}


class Misfortune:
    """Loses every third ticket, doubles every third, and holds the others back for a while."""

    def __init__(self, inner: Tickets) -> None:
        self._inner, self._count, self._held = inner, 0, list[str]()

    def send(self, analysis_id: str) -> None:
        self._count += 1
        if self._count % 3 == 0:
            raise ConnectionError("lost")
        if self._count % 3 == 1:
            self._inner.send(analysis_id)
            self._inner.send(analysis_id)
        else:
            self._held.append(analysis_id)
            if len(self._held) > 3:
                self._inner.send(self._held.pop(0))

    def listen(self, heard: Any, stop: threading.Event) -> None:
        self._inner.listen(heard, stop)

    def close(self) -> None:
        self._inner.close()


def test_lost_doubled_and_late_tickets_lose_and_double_nothing(way: tuple[str, Engine]) -> None:
    url, engine = way
    store = Store(engine, monotonic)
    store.create_tables()
    ran: list[tuple[str, int]] = []

    async def run_segment(task: Mapping[str, Any]) -> Any:
        ran.append((task["output_uri"], task["segment"]["index"]))
        await asyncio.sleep(0)
        yield {"report": {"frames": 1, "parts": {}}, "instance": "w", "busy_s": 0.1}

    def dispatcher(owner: str) -> Dispatcher:
        policy = DispatchPolicy(
            "/results", {Lane.GPU: 2}, {Lane.GPU: 2}, segment_s=5.0, media_s_per_worker=5.0, poll_s=0.2
        )
        queue = DatabaseQueue(engine, monotonic)
        return Dispatcher(queue, {Lane.GPU: run_segment}, lambda _uri: INFO, policy, owner, lambda _name: "gpu")

    async def work() -> list[Analysis]:
        stop, both = asyncio.Event(), [dispatcher("one"), dispatcher("two")]
        loops = [asyncio.create_task(one.run(stop)) for one in both]
        offices = [TicketOffice(Misfortune(open_tickets(url, engine)), one.wake_from_thread) for one in both]
        for opened in offices:
            opened.start()
        asked = []
        for number in range(12):
            analysis, _ = await asyncio.to_thread(store.create, Submission([f"/m/{number}"], ["labels"], "0" * 64))
            offices[number % 2].send(analysis.id)
            asked.append(analysis)
        deadline = monotonic() + 120
        while monotonic() < deadline and not all(
            done for done, _ in (await asyncio.to_thread(store.heads, [a.id for a in asked])).values()
        ):
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*loops)
        for opened in offices:
            await asyncio.to_thread(opened.stop, 20)
        return asked

    asked = asyncio.run(work())
    found = [store.get(a.id) for a in asked]
    assert [a.state for a in found if a] == [AnalysisState.SUCCEEDED] * 12
    assert sorted(ran) == sorted((f"/results/analyses/{a.id}/0000", index) for a in asked for index in range(2))


def test_a_broker_that_is_away_holds_up_nobody(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    engine = sqlite(tmp_path)
    for url in (f"amqp://guest:guest@127.0.0.1:{port}//", f"redis://127.0.0.1:{port}/0"):
        opened = TicketOffice(open_tickets(url, engine), lambda _id: None)
        opened.start()
        started = monotonic()
        for _ in range(2000):
            opened.send("an_0123456789abcdef")
        assert monotonic() - started < 5
        opened.stop(0.1)
    engine.dispose()


def test_a_url_that_means_nothing_is_refused_without_its_password(tmp_path: Path) -> None:
    engine = sqlite(tmp_path)
    with pytest.raises(ValueError, match="amqp://, amqps://, redis://") as refused:
        open_tickets("kafka://user:password@host", engine)
    assert "password" not in str(refused.value)
    engine.dispose()
