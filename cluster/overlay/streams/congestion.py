"""One SSH connection that takes no more: whatever would be written into it is held back."""

from typing import Any, Protocol

# Packets that may wait for the end of a key exchange: an honest peer's are those under way when it began.
_MAX_DEFERRED = 4096


class Source(Protocol):
    """What writes into the connection and can be told to wait."""

    def hold(self, reason: str) -> None:
        """Read nothing more until this reason is released."""
        ...

    def release(self, reason: str) -> None:
        """This reason is over."""
        ...


class End(Protocol):
    """A channel of the connection."""

    @property
    def other(self) -> Source | None:
        """Where its data comes from, once that is known."""
        ...


class Congestion:
    """While the connection's socket is full, or its keys are being renewed, nothing is read that would go into it.

    asyncssh bounds what waits in each channel. It does not bound what waits for the socket, nor what waits for a key
    exchange, which the peer can begin and never finish. `both_ways`: while the socket is full, nothing is read from
    the peer either, or a peer that asks for much and reads no answer would fill the memory with answers. Only one of
    two sides may do that, or they could wait for each other.
    """

    def __init__(self, connection: Any, both_ways: bool = False) -> None:
        self._ends: dict[End, None] = {}
        self._full_because: set[str] = set()
        self._transport = connection._transport if both_ways else None
        connection.pause_writing = lambda: self._pause("socket")
        connection.resume_writing = lambda: self._resume("socket")
        self._follow_key_exchanges(connection)

    def _follow_key_exchanges(self, connection: Any) -> None:
        begin, finish, send = connection._send_kexinit, connection._send_deferred_packets, connection.send_packet

        def deferred(*arguments: Any, **more: Any) -> None:
            if len(connection._deferred_packets) < _MAX_DEFERRED:
                send(*arguments, **more)
            else:  # it asks on and on, and does not finish what it began
                connection.abort()

        def begun() -> None:
            begin()
            connection.send_packet = deferred
            self._pause("keys")

        def finished() -> None:
            if connection._kex_complete:
                connection.send_packet = send
            finish()
            if connection._kex_complete:
                self._resume("keys")

        connection._send_kexinit, connection._send_deferred_packets = begun, finished

    @property
    def full(self) -> bool:
        """Whether nothing more is to be written into it now."""
        return bool(self._full_because)

    def add(self, end: End) -> None:
        """This channel writes into the connection."""
        self._ends[end] = None

    def discard(self, end: End) -> None:
        """This channel is gone."""
        self._ends.pop(end, None)

    def __len__(self) -> int:
        return len(self._ends)

    def _pause(self, reason: str) -> None:
        self._full_because.add(reason)
        if self._transport is not None and reason == "socket":
            self._transport.pause_reading()
        for end in self._ends:
            if end.other is not None:
                end.other.hold("connection")

    def _resume(self, reason: str) -> None:
        """Let them go on, one after the other until it is full again; whoever had its turn is the last next time."""
        self._full_because.discard(reason)
        if self._transport is not None and reason == "socket":
            self._transport.resume_reading()
        for end in list(self._ends):
            if self.full:
                break
            if end in self._ends and end.other is not None:
                self._ends[end] = self._ends.pop(end)
                end.other.release("connection")
