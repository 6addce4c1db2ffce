"""Two ends of one stream, joined: TCP sockets and SSH channels in any combination, with bounded memory.

What arrives at one end is written at the other. An end whose writes pile up stops the reading at the other end, and a
whole SSH connection whose socket is full stops every stream that writes into it. So a slow reader holds at most
one SSH window and one write buffer per stream, wherever it sits.
"""

import asyncio
import contextlib
import socket
from typing import Any

import asyncssh

# Large packets, or Python's work per packet is the limit; the window is what a stream may hold when nobody reads.
PACKET_BYTES = 256 * 1024
WINDOW_BYTES = 2 * 1024**2
_WRITE_BUFFER_BYTES = 512 * 1024


class _End:
    """What TCP and channel ends have in common. `transport` is set while the end is open."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: _End | None = None
        self._holds: set[str] = set()
        self._early: list[bytes] = []
        self._ended = False

    def opened(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        if self.other is None:
            self.hold("unjoined")

    def join(self, other: "_End") -> None:
        """Let data flow in both directions. Both ends are open."""
        self.other, other.other = other, self
        for end in (self, other):
            for data in end._early:
                end.received(data)
            end._early.clear()
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

    def received(self, data: bytes) -> None:
        if self.other is None:  # at most a window: asyncssh starts reading without asking
            self._early.append(data)
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

    def close(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()

    def abort(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()


class TcpEnd(_End, asyncio.Protocol):
    """An end at a socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open, without Nagle's delay."""
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened(transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.received(data)

    def eof_received(self) -> bool:
        """Pass it on, and stay open for the other direction."""
        self.ended()
        return True

    def pause_writing(self) -> None:
        """The socket takes no more."""
        if self.other is not None:
            self.other.hold("peer")

    def resume_writing(self) -> None:
        """The socket takes more."""
        if self.other is not None:
            self.other.release("peer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed or broken."""
        self.lost(exc)


class ChannelEnd(_End, asyncssh.SSHTCPSession[bytes]):
    """An end at a channel of the SSH connection to which `congestion` belongs; joined to `partner` once it is open."""

    def __init__(self, congestion: "Congestion", partner: _End | None = None) -> None:
        super().__init__()
        self._congestion, self._partner = congestion, partner

    def connection_made(self, chan: Any) -> None:
        """Open."""
        self._congestion.add(self)
        self.opened(chan)
        if self._partner is not None:
            self.join(self._partner)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Pass it on."""
        self.received(data)

    def eof_received(self) -> bool:
        """Pass it on, and stay open for the other direction."""
        self.ended()
        return True

    def pause_writing(self) -> None:
        """The channel's window is used up."""
        if self.other is not None:
            self.other.hold("peer")

    def resume_writing(self) -> None:
        """The channel takes more."""
        if self.other is not None:
            self.other.release("peer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, or the connection broke."""
        self._congestion.discard(self)
        self.lost(exc)

    def join(self, other: _End) -> None:
        """The same, and held back at once if the connection is full."""
        super().join(other)
        if self._congestion.full:
            other.hold("connection")


class Congestion:
    """One SSH connection's socket: while it is full, nothing is read that would be written into it.

    asyncssh bounds what waits in each channel, not what waits for the socket.
    """

    def __init__(self, connection: Any) -> None:
        self.full = False
        self._ends: set[ChannelEnd] = set()
        connection.pause_writing = self._pause
        connection.resume_writing = self._resume

    def add(self, end: ChannelEnd) -> None:
        """This channel writes into the connection."""
        self._ends.add(end)

    def discard(self, end: ChannelEnd) -> None:
        """This channel is gone."""
        self._ends.discard(end)

    def __len__(self) -> int:
        return len(self._ends)

    def _pause(self) -> None:
        self.full = True
        for end in self._ends:
            if end.other is not None:
                end.other.hold("connection")

    def _resume(self) -> None:
        self.full = False
        for end in list(self._ends):
            if end.other is not None:
                end.other.release("connection")
