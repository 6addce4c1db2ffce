"""A file at an http(s) URL that is read as it is needed, by ranges, and never from inside a private network.

FFmpeg's own HTTP would follow redirects anywhere and resolve names again. Here each connection's address is resolved
once, judged and connected to. `public_only` marks a URL for that: what a stranger has named is marked, a presigned
URL of our own storage is not.
"""

import io
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx

from pipelines.public_hosts import NotPublic, addresses_of, public_address

_MARK = "#public-only"
_BUFFER_BYTES = 1 << 18
_SKIP_BYTES = 1 << 20  # rather read on than ask again
_REDIRECTS = 5
_TIMEOUT_S = 30.0
_TRIES = 3


def public_only(uri: str) -> str:
    """The URL, marked: only the public internet may be reached through it."""
    return uri.partition("#")[0] + _MARK


def open_http(uri: str, resolve: Callable[[str], list[str]] = addresses_of) -> io.BufferedReader:
    """The file, seekable where the server knows ranges. Raises OSError in words for people."""
    return io.BufferedReader(_HttpFile(uri, resolve), _BUFFER_BYTES)


class _PublicBackend(httpcore.NetworkBackend):
    """Opens TCP connections to public addresses only."""

    def __init__(self, resolve: Callable[[str], list[str]]) -> None:
        self._resolve, self._wire = resolve, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            address = public_address(host, self._resolve)
        except NotPublic as error:
            raise httpcore.ConnectError(str(error)) from None
        return self._wire.connect_tcp(address, port, timeout, local_address, socket_options)


def _client(uri: str, resolve: Callable[[str], list[str]]) -> httpx.Client:
    if not uri.endswith(_MARK):
        return httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True, max_redirects=_REDIRECTS)
    transport = httpx.HTTPTransport(trust_env=False)
    transport._pool = httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(), network_backend=_PublicBackend(resolve), max_connections=2
    )
    return httpx.Client(
        transport=transport, trust_env=False, timeout=_TIMEOUT_S, follow_redirects=True, max_redirects=_REDIRECTS
    )


class _HttpFile(io.RawIOBase):
    def __init__(self, uri: str, resolve: Callable[[str], list[str]]) -> None:
        self._url = uri.partition("#")[0]
        self._client = _client(uri, resolve)
        self._position = 0
        self._rest = b""
        self._reply: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._size: int | None = None
        try:
            self._request(0)
        except BaseException:
            self.close()
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._size is not None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._size is None:
            raise io.UnsupportedOperation("the server knows no ranges")
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if 0 <= target - self._position <= _SKIP_BYTES:
            self._skip(target - self._position)
        if target != self._position:
            self._let_go()
            self._position = target
        return self._position

    def readinto(self, buffer: Any) -> int:
        for last_try in (*[False] * (_TRIES - 1), True):
            try:
                return self._read_some(memoryview(buffer).cast("B"))
            except (httpx.TransportError, OSError) as error:  # cut: go on from here
                self._let_go()
                if last_try or self._size is None:
                    raise OSError(f"reading was cut: {type(error).__name__}") from None
        return 0

    def close(self) -> None:
        if not self.closed:
            self._let_go()
            self._client.close()
        super().close()

    def _read_some(self, view: memoryview) -> int:
        if not self._rest:
            if self._reply is None:
                if self._size is not None and self._position >= self._size:
                    return 0
                self._request(self._position)
            self._rest = next(self._chunks, b"")
            if not self._rest and self._size is not None and self._position < self._size:
                raise OSError("the server ended early")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count

    def _skip(self, count: int) -> None:
        while count > 0 and self._reply is not None:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    return
            step = min(count, len(self._rest))
            self._rest = self._rest[step:]
            self._position += step
            count -= step

    def _request(self, start: int) -> None:
        headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity", "User-Agent": "aima"}
        try:
            reply = self._client.send(self._client.build_request("GET", self._url, headers=headers), stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OSError(str(error) or type(error).__name__) from None
        if reply.status_code not in (200, 206) or (start and reply.status_code != 206):
            reply.close()
            raise OSError(f"the server answers {reply.status_code} {reply.reason_phrase}")
        if reply.status_code == 206:
            total = reply.headers.get("content-range", "").rpartition("/")[2]
            self._size = int(total) if total.isdecimal() else None
        self._reply, self._chunks, self._rest = reply, reply.iter_raw(), b""

    def _let_go(self) -> None:
        if self._reply is not None:
            self._reply.close()
        self._reply, self._chunks, self._rest = None, iter(()), b""
