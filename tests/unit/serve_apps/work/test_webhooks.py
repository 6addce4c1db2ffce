"""Webhooks: signed, tried again for a day, seen in the API, and never led inside."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines.media.public_hosts import addresses_of
from pipelines.media.public_transport import Resolve, async_client
from serve_apps.work.webhook_sender import WebhookSender
from serve_apps.work.webhooks import GIVE_UP_AFTER_S, SIGNATURE_HEADER, retry_after_s, signature, verify
from tests.support.product.service import Running
from tests.waiting import wait_until

SECRET = "a secret of some length"


class Receiver(HTTPServer):
    """Writes down what it is sent, and answers what it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, str]] = []
        self.answers: list[int] = []
        self.location = ""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, body, self.headers.get(SIGNATURE_HEADER, "")))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def send(service: Running, allow_private: bool = True, resolve: Resolve = addresses_of) -> int:
    async def once() -> int:
        async with async_client(allow_private, resolve) as client:
            opened = service.service.credentials.open
            sender = WebhookSender(service.service.store.engine, lambda: service.clock[0], client, opened)
            return await sender.send_some()

    return asyncio.run(once())


def submit(service: Running, url: str) -> str:
    service.public_hosts.add("127.0.0.1")
    return str(service.submit(webhook={"url": url, "secret": SECRET})["id"])


def deliveries(service: Running, analysis_id: str) -> list[dict[str, object]]:
    return list(service.http.get(f"/v1/analyses/{analysis_id}/webhooks").json()["deliveries"])


def test_an_end_is_told_signed_and_once(service: Running) -> None:
    with receiving() as receiver:
        analysis_id = submit(service, receiver.url)
        assert send(service) == 0
        service.finish(analysis_id)
        assert (send(service), send(service)) == (1, 0)
        ((path, body, header),) = receiver.heard
    assert path == "/hook"
    assert f'"analysis_id": "{analysis_id}"' in body.decode()
    assert verify(SECRET, body, header, service.clock[0])
    assert not verify(SECRET, body + b" ", header, service.clock[0])
    assert not verify("another secret", body, header, service.clock[0])
    assert not verify(SECRET, body, header, service.clock[0] + 301)
    assert not verify(SECRET, body, "nonsense", service.clock[0])
    (told,) = deliveries(service, analysis_id)
    assert (told["state"], told["attempts"], told["last_status"], told["event"]) == ("delivered", 1, 204, "succeeded")


def test_a_receiver_that_is_away_is_tried_for_a_day(service: Running) -> None:
    with receiving() as receiver:
        receiver.answers = [500, 302]
        receiver.location = receiver.url
        analysis_id = submit(service, receiver.url)
        service.http.delete(f"/v1/analyses/{analysis_id}")
        assert send(service) == 1
        (told,) = deliveries(service, analysis_id)
        assert (told["state"], told["last_status"], told["last_error"]) == (
            "pending",
            500,
            "HTTP 500: 2xx is needed, redirects are not followed",
        )
        assert send(service) == 0
        service.clock[0] += 10
        assert send(service) == 1
        assert len(receiver.heard) == 2  # the redirect was not followed
        receiver.location = ""
    tries = 2
    while told["state"] == "pending":
        service.clock[0] += 3600
        tries += send(service)
        (told,) = deliveries(service, analysis_id)
        assert tries < 100
    service.clock[0] += 24 * 3600
    assert send(service) == 0
    assert told["state"] == "given_up"
    assert told["attempts"] == tries
    assert tries > 20
    assert "ConnectError" in str(told["last_error"])


def test_tries_are_ever_further_apart() -> None:
    waits = [retry_after_s(attempts) for attempts in range(1, 40)]
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) == 3600
    assert sum(waits[:33]) > GIVE_UP_AFTER_S
    assert signature("s", b"x", 5).startswith("t=5,v1=")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"])
def test_a_name_that_has_become_private_is_not_called(service: Running, address: str) -> None:
    """DNS rebinding: public when it was asked for, private when it is called."""
    with receiving() as receiver:
        analysis_id = submit(service, f"http://rebinding.example:{receiver.server_port}/")
        service.http.delete(f"/v1/analyses/{analysis_id}")
        assert send(service, allow_private=False, resolve=lambda _host: [address]) == 1
        assert receiver.heard == []
    (told,) = deliveries(service, analysis_id)
    assert "not on the public internet" in str(told["last_error"])


@contextmanager
def dripping() -> Iterator[str]:
    """A receiver that sends a byte of its headers now and then, for ever."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not stop.wait(0.05):
                connection.sendall(b"x")

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        stop.set()


def test_one_slow_receiver_stops_no_other_and_is_left_when_the_time_is_over(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_apps.work.webhook_sender._TOTAL_S", 3.0)
    with dripping() as slow, receiving() as receiver:
        slow_ones = [submit(service, slow) for _ in range(30)]
        for analysis_id in slow_ones:
            service.http.delete(f"/v1/analyses/{analysis_id}")
        service.clock[0] += 1
        quick = submit(service, receiver.url)
        service.http.delete(f"/v1/analyses/{quick}")
        sending = threading.Thread(target=send, args=(service,), daemon=True)
        began = time.monotonic()
        sending.start()
        wait_until("the quick receiver is called", lambda: receiver.heard)
        assert time.monotonic() - began < 3.0  # before the first of the slow ones was given up
        wait_until("a slow one is given up", lambda: deliveries(service, slow_ones[0])[0]["attempts"])
        assert deliveries(service, slow_ones[0])[0]["last_error"] == "no answer within 3 s"
        sending.join(120)
