"""A file at an http(s) address that is read as it is needed, by ranges, and never from inside a private network.

FFmpeg's own HTTP would follow redirects anywhere and resolve names again. Here each connection goes to an address that
was judged (public_transport.py), unless the file's address is trusted.
"""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from pipelines.errors import Unavailable
from pipelines.media.addresses import WebAddress
from pipelines.media.public_hosts import addresses_of
from pipelines.media.public_transport import NotAllowed, PublicTransport, tls
from pipelines.redaction import without_secrets

_Result = TypeVar("_Result")
_BUFFER_BYTES = 1 << 18
_SKIP_BYTES = 1 << 20  # rather read on than ask again
_REDIRECTS = 5
_TIMEOUT_S = 15.0
_PAUSES_S = (0.5, 2.0)  # before the second and the third try
# What a server answers that cannot just now.
_FOR_NOW = frozenset({408, 425, 429, 500, 502, 503, 504})


def open_http(
    address: WebAddress, resolve: Callable[[str], list[str]] = addresses_of, pause: Callable[[float], None] = time.sleep
) -> io.BufferedReader:
    """The file, seekable where the server knows ranges; what is cut or refused for now is tried again.

    Raises OSError in words for people, Unavailable where the same may succeed later.
    """
    return io.BufferedReader(_HttpFile(address, resolve, pause), _BUFFER_BYTES)


def _client(address: WebAddress, resolve: Callable[[str], list[str]]) -> httpx.Client:
    transport = httpx.HTTPTransport(verify=tls()) if address.trusted else PublicTransport(resolve)
    return httpx.Client(
        transport=transport, trust_env=False, timeout=_TIMEOUT_S, follow_redirects=True, max_redirects=_REDIRECTS
    )


class _HttpFile(io.RawIOBase):
    def __init__(
        self, address: WebAddress, resolve: Callable[[str], list[str]], pause: Callable[[float], None]
    ) -> None:
        self._pause = pause
        self._url = address.url_with_credentials
        self._client = _client(address, resolve)
        self._position = 0
        self._rest = b""
        self._reply: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._size: int | None = None
        try:
            self._persistently(lambda: self._request(0))
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
            with contextlib.suppress(Unavailable):  # asked for again from the target
                self._skip(target - self._position)
        if target != self._position:
            self._let_go()
            self._position = target
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        return self._persistently(lambda: self._read_some(view))

    def close(self) -> None:
        if not self.closed:
            self._let_go()
            self._client.close()
        super().close()

    def _persistently(self, step: Callable[[], _Result]) -> _Result:
        """Try again, from where it was, what does not work for now."""
        for pause_s in _PAUSES_S:
            try:
                return step()
            except Unavailable:
                self._let_go()
                if self._position and self._size is None:
                    raise  # the server would begin again
                self._pause(pause_s)
        return step()

    def _read_some(self, view: memoryview) -> int:
        if not self._rest:
            if self._reply is None:
                if self._size is not None and self._position >= self._size:
                    return 0
                self._request(self._position)
            self._rest = self._next_chunk()
            if not self._rest and self._size is not None and self._position < self._size:
                raise Unavailable("reading was cut: the server ended early")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count

    def _skip(self, count: int) -> None:
        while count > 0 and self._reply is not None:
            if not self._rest:
                self._rest = self._next_chunk()
                if not self._rest:
                    return
            step = min(count, len(self._rest))
            self._rest = self._rest[step:]
            self._position += step
            count -= step

    def _next_chunk(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except httpx.TransportError as error:
            raise Unavailable(f"reading was cut: {type(error).__name__}") from None

    def _request(self, start: int) -> None:
        headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity", "User-Agent": "aima"}
        try:
            reply = self._client.send(self._client.build_request("GET", self._url, headers=headers), stream=True)
        except (NotAllowed, httpx.InvalidURL, httpx.TooManyRedirects, httpx.UnsupportedProtocol) as error:
            raise OSError(without_secrets(str(error))) from None
        except httpx.HTTPError as error:
            raise Unavailable(without_secrets(str(error)) or type(error).__name__) from None
        if reply.status_code in _FOR_NOW:
            reply.close()
            raise Unavailable(f"the server answers {reply.status_code} {reply.reason_phrase}")
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
