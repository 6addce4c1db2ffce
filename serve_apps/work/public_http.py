"""HTTP to addresses that users name: each connection's address is resolved once, judged, and then connected to.

A name that resolves to a private address is refused at the moment of connecting, so neither a redirect nor a name
that changes its mind (DNS rebinding) leads inside. TLS still checks the certificate against the name.
"""

import ssl
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import httpcore
import httpx

from pipelines.media.public_hosts import NotPublic, addresses_of, public_address


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to public addresses only."""

    def __init__(
        self,
        allow_private: bool,
        resolve: Callable[[str], list[str]] = addresses_of,
        wire: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allow_private, self._resolve = allow_private, resolve
        self._wire = wire or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore. Raises httpcore.ConnectError for a host that is not on the public internet."""
        if not self._allow_private:
            try:
                host = await anyio.to_thread.run_sync(public_address, host, self._resolve)
            except NotPublic as error:
                raise httpcore.ConnectError(str(error)) from None
        return await self._wire.connect_tcp(host, port, timeout, local_address, socket_options)


def public_client(
    allow_private: bool = False, resolve: Callable[[str], list[str]] = addresses_of, timeout_s: float = 10.0
) -> httpx.AsyncClient:
    """A client for users' URLs. It follows no redirect, uses no proxy of the environment, sends no credentials."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(),
        network_backend=PublicBackend(allow_private, resolve),
        max_connections=20,
        max_keepalive_connections=0,
    )
    return httpx.AsyncClient(
        transport=transport, timeout=timeout_s, trust_env=False, follow_redirects=False, headers={"User-Agent": "aima"}
    )
