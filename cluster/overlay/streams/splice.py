"""Two ends of one stream, joined: TCP sockets and SSH channels in any combination, with bounded memory.

What arrives at one end is written at the other. An end whose writes pile up stops the reading at the other end, and a
whole SSH connection whose socket is full stops every stream that writes into it (congestion.py). So a slow reader
holds at most one SSH window, one chunk and one write buffer per stream, wherever it sits.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Any

import asyncssh

from cluster.overlay.streams.congestion import Congestion
from cluster.overlay.streams.memory import Lease

# Large packets, or Python's work per packet is the limit; the window is what a stream may hold when nobody reads.
PACKET_BYTES = 256 * 1024
WINDOW_BYTES = 2 * 1024**2
_WRITE_BUFFER_BYTES = 8 * 1024
# A socket is read in chunks that double while each is full: what waits for a slow reader is one of them.
_FIRST_CHUNK_BYTES, _LARGEST_CHUNK_BYTES = 8 * 1024, 256 * 1024
# How long the rest of a closed stream may wait for its reader: longer than a link may be silent and come back.
LINGER_S = 180.0
_scratch = threading.local()


class _End:
    """What TCP and channel ends have in common. `transport` is set while the end is open."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: _End | None = None
        self._holds: set[str] = set()
        self._early = bytearray()
        self._ended = False
        self.lease: Lease | None = None

    def opened(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        if self.other is None:
            self.hold("unjoined")

    def join(self, other: "_End") -> None:
        """Let data flow in both directions. Both ends are open."""
        self.other, other.other = other, self
        for end in (self, other):
            early, end._early = end._early, bytearray()
            if early:
                end.received(early)
            if end._ended:
                end.ended()
            if end.transport is None:
                end.lost(None)
            end.release("unjoined")

    def hold(self, reason: str) -> None:
        """Read nothing more here until every reason is released."""
        self._holds.add(reason)
        if self.transport is not None:
            self.transport.pause_reading()

    def release(self, reason: str) -> None:
        self._holds.discard(reason)
        if self.transport is not None and not self._holds:
            self.transport.resume_reading()

    def received(self, data: bytes | bytearray) -> None:
        if self.other is None:  # at most a window: asyncssh starts reading without asking
            self._early += data
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def ended(self) -> None:
        """No more data comes from here; the other direction may go on."""
        self._ended = True
        if self.other is None:
            return
        if self.other._ended:
            self.close()
            self.other.close()
        elif self.other.transport is not None:
            self.other.transport.write_eof()

    def lost(self, error: Exception | None) -> None:
        """This end is gone: the other one is closed after its data, or cut when data is missing."""
        self.transport = None
        if self.other is not None:
            if error is None:
                self.other.close()
            else:
                self.other.abort()

    def eof_received(self) -> bool:
        """Pass it on, and stay open for the other direction."""
        self.ended()
        return True

    def pause_writing(self) -> None:
        """This end takes no more: the other one is not read meanwhile."""
        if self.other is not None:
            self.other.hold("peer")

    def resume_writing(self) -> None:
        """This end takes more again."""
        if self.other is not None:
            self.other.release("peer")

    def close(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            if transport.get_write_buffer_size():  # its reader may never read
                asyncio.get_running_loop().call_later(LINGER_S, transport.abort)
            transport.close()

    def abort(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()


class TcpEnd(_End, asyncio.BufferedProtocol):
    """An end at a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._chunk_bytes = _FIRST_CHUNK_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open, without Nagle's delay."""
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened(transport)

    def abort(self) -> None:
        """Cut it, so that whoever reads it sees that it is not complete."""
        if self.transport is not None:
            with contextlib.suppress(OSError):
                option = struct.pack("ii", 1, 0)  # close with a reset
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        super().abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next chunk is read to: one buffer for all ends of a thread, empty again before the next read."""
        if not hasattr(_scratch, "view"):
            _scratch.view = memoryview(bytearray(_LARGEST_CHUNK_BYTES))
        return _scratch.view[: self._chunk_bytes]  # type: ignore[no-any-return]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass it on."""
        data = bytes(_scratch.view[:nbytes])
        self._resize_chunk(nbytes)
        self.received(data)

    def _resize_chunk(self, nbytes: int) -> None:
        chunk, lease = self._chunk_bytes, None if self.other is None else self.other.lease
        if nbytes == chunk < _LARGEST_CHUNK_BYTES and (lease is None or lease.grow(chunk)):
            self._chunk_bytes = 2 * chunk
        elif nbytes < chunk // 8 and chunk > _FIRST_CHUNK_BYTES:
            self._chunk_bytes = chunk // 2
            if lease is not None:
                lease.shrink(chunk // 2)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed or broken."""
        self.lost(exc)


class ChannelEnd(_End, asyncssh.SSHTCPSession[bytes]):
    """An end at a channel of the SSH connection to which `congestion` belongs; joined to `partner` once it is open."""

    def __init__(self, congestion: Congestion, partner: _End | None = None) -> None:
        super().__init__()
        self._congestion, self._partner = congestion, partner

    def connection_made(self, chan: Any) -> None:
        """Open."""
        self._congestion.add(self)
        self.lease = getattr(chan, "lease", None)  # on the hub's side
        self.opened(chan)
        if self._partner is not None:
            self.join(self._partner)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Pass it on."""
        self.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, or the connection broke."""
        self._congestion.discard(self)
        self.lost(exc)

    def join(self, other: _End) -> None:
        """The same, and held back at once if the connection is full."""
        super().join(other)
        if self._congestion.full:
            other.hold("connection")
