"""HTTP to addresses that users name: a host is resolved once for each request, judged, and then connected to.

A name that resolves to a private address is refused before a connection is made, so neither a redirect nor a name that
changes its mind (DNS rebinding) leads inside. TLS still checks the certificate against the name.
"""

import ssl
from collections.abc import Callable
from functools import cache

import anyio.to_thread
import httpx

from pipelines.media.public_hosts import NotPublic, addresses_of, public_addresses

Resolve = Callable[[str], list[str]]
_UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout)
# Connections are not kept: the next request may be for another name at the same address.
_ONCE = httpx.Limits(max_connections=20, max_keepalive_connections=0)
_AGENT = {"User-Agent": "aima"}


class NotAllowed(httpx.ConnectError):
    """The host is not on the public internet, or not known. The message names no address."""


class PublicTransport(httpx.BaseTransport):
    """Sends requests to public addresses only; the next address of a host is tried where one does not answer."""

    def __init__(self, resolve: Resolve = addresses_of) -> None:
        self._resolve = resolve
        self._wire = httpx.HTTPTransport(verify=tls(), trust_env=False, limits=_ONCE)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises NotAllowed."""
        addresses = _judged(request.url.host, self._resolve)
        for address in addresses[:-1]:
            try:
                return self._wire.handle_request(_aimed(request, address))
            except _UNREACHED:
                continue
        return self._wire.handle_request(_aimed(request, addresses[-1]))

    def close(self) -> None:
        """See httpx."""
        self._wire.close()


class AsyncPublicTransport(httpx.AsyncBaseTransport):
    """The same for an event loop; names are resolved in a thread of `resolving`."""

    def __init__(self, resolve: Resolve = addresses_of, resolving: anyio.CapacityLimiter | None = None) -> None:
        self._resolve, self._resolving = resolve, resolving
        self._wire = httpx.AsyncHTTPTransport(verify=tls(), trust_env=False, limits=_ONCE)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises NotAllowed."""
        host = request.url.host
        addresses = await anyio.to_thread.run_sync(
            _judged, host, self._resolve, limiter=self._resolving, abandon_on_cancel=True
        )
        for address in addresses[:-1]:
            try:
                return await self._wire.handle_async_request(_aimed(request, address))
            except _UNREACHED:
                continue
        return await self._wire.handle_async_request(_aimed(request, addresses[-1]))

    async def aclose(self) -> None:
        """See httpx."""
        await self._wire.aclose()


def async_client(trusted: bool = False, resolve: Resolve = addresses_of, timeout_s: float = 10.0) -> httpx.AsyncClient:
    """A client that follows no redirect, uses no proxy of the environment and sends no credentials of ours.

    Only with `trusted` does it reach hosts that are not on the public internet.
    """
    transport = httpx.AsyncHTTPTransport(verify=tls(), limits=_ONCE) if trusted else AsyncPublicTransport(resolve)
    return httpx.AsyncClient(transport=transport, timeout=timeout_s, trust_env=False, headers=_AGENT)


@cache
def tls() -> ssl.SSLContext:
    """Once for a process: reading the authorities takes a tenth of a second."""
    return ssl.create_default_context()


def _judged(host: str, resolve: Resolve) -> list[str]:
    try:
        return public_addresses(host, resolve)
    except NotPublic as error:
        raise NotAllowed(str(error)) from None


def _aimed(request: httpx.Request, address: str) -> httpx.Request:
    """The request for this address. Its Host header is the name's, and so is what TLS checks."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.host},
    )
