"""HTTP to strangers: only public addresses are connected to, all of a host's are tried, and each is judged before."""

import asyncio
import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import anyio
import httpcore
import httpx
import pytest

from pipelines.media.public_hosts import is_public, public_addresses
from pipelines.media.public_transport import NotAllowed, PublicTransport, async_client

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::10.0.0.1",
        "::93.184.216.34",
        "::ffff:10.0.0.1",
        "::ffff:0:93.184.216.34",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::93.184.216.34",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2001:0:5db8:d822::1",
        "2002:a00:1::1",
        "2002:5db8:d822::1",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:2800:220:1::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_on_the_public_internet_is_never_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    for answers in ([address], [PUBLIC, address]):
        with pytest.raises(ValueError, match="not allowed") as refused:
            public_addresses("host.example", {"host.example": answers}.__getitem__)
        assert address not in str(refused.value)


@pytest.mark.parametrize("address", [PUBLIC, "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2606:2800:220:1::1"])
def test_what_everybody_reaches_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


class _Handler(BaseHTTPRequestHandler):
    hosts: list[str]
    server: HTTPServer

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        self.send_response(302 if self.path == "/moved" else 200)
        if self.path == "/moved":
            self.send_header("Location", f"http://inside.example:{self.server.server_port}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Host:
    """A server of the public internet, at PUBLIC; at other addresses nobody listens."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.called: list[str] = []
        handler = type("Handler", (_Handler,), {"hosts": self.hosts})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://public.example:{self.server.server_port}"

    def target(self, host: str) -> str:
        self.called.append(host)
        if host != PUBLIC:
            raise httpcore.ConnectError("nobody listens")
        return "127.0.0.1"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    public = Host()
    connect, connect_async = httpcore.SyncBackend.connect_tcp, anyio.connect_tcp

    def rewired(self: Any, host: str, *more: Any, **named: Any) -> Any:
        return connect(self, public.target(host), *more, **named)

    async def rewired_async(remote_host: str, *more: Any, **named: Any) -> Any:
        return await connect_async(public.target(remote_host), *more, **named)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", rewired)
    monkeypatch.setattr(anyio, "connect_tcp", rewired_async)
    thread = threading.Thread(target=public.server.serve_forever, args=(0.01,))
    thread.start()
    yield public
    public.server.shutdown()
    thread.join()
    public.server.server_close()


def get(url: str, answers: Any, in_loop: bool) -> httpx.Response:
    """By the one transport or the other; each request takes the resolver's next answer."""

    def resolve(_host: str) -> list[str]:
        return list(next(answers))

    async def by_loop() -> httpx.Response:
        async with async_client(resolve=resolve) as client:
            return await client.get(url, follow_redirects=True)

    if in_loop:
        return asyncio.run(by_loop())
    with httpx.Client(transport=PublicTransport(resolve), follow_redirects=True) as client:
        return client.get(url)


@pytest.mark.parametrize("in_loop", [True, False])
def test_all_answers_of_the_resolver_are_tried_in_turn(host: Host, in_loop: bool) -> None:
    reply = get(f"{host.url}/", iter([["198.41.0.4", "2001:500:2::c", PUBLIC]]), in_loop)
    assert reply.status_code == 200
    assert host.called == ["198.41.0.4", "2001:500:2::c", PUBLIC]
    assert host.hosts == [host.url.removeprefix("http://")]  # asked for by its name


@pytest.mark.parametrize("in_loop", [True, False])
def test_the_judged_address_is_the_one_that_is_called(host: Host, in_loop: bool) -> None:
    """A second answer of the resolver, for the connection, is never asked for."""
    assert get(f"{host.url}/", iter([[PUBLIC], ["127.0.0.1"]]), in_loop).status_code == 200
    assert host.called == [PUBLIC]


@pytest.mark.parametrize("in_loop", [True, False])
@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "fd00:ec2::254"])
def test_neither_a_redirect_nor_one_private_answer_leads_inside(host: Host, in_loop: bool, inside: str) -> None:
    with pytest.raises(NotAllowed, match="not allowed"):
        get(f"{host.url}/moved", iter([[PUBLIC], [PUBLIC, inside]]), in_loop)
    assert host.called == [PUBLIC]
