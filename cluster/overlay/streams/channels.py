"""asyncssh's channels as the hub uses them: what they leave unbounded is bounded here.

asyncssh grants every channel one window for good, keeps each small packet as an object of its own, keeps a channel
whose opening was given up, and remembers every variable and signal that a client sends. None of this can be set from
outside, so methods are overridden here that asyncssh calls its own. tests/unit/cluster/overlay/test_hostile_guests.py
fails when a new version works otherwise.
"""

import asyncio
from typing import Any

import asyncssh

from cluster.overlay.streams.memory import FIRST_WINDOW_BYTES, Lease
from cluster.overlay.streams.splice import PACKET_BYTES, WINDOW_BYTES

# A window that is used up faster than this limits the stream and doubles; one that lasts longer than that halves.
_BUSY_S, _IDLE_S = 1.0, 10.0
# Small packets that wait are kept together in pieces of up to this size.
_PIECE_BYTES = 64 * 1024
_ALLOWED = {"_process_request", "_process_exec_request", "_process_keepalive_at_openssh_dot_com_request"}


class StreamChannel(asyncssh.SSHTCPChannel[bytes]):
    """One stream to or from `peer`'s machine; what it may hold in memory is `lease`'s."""

    def __init__(self, connection: asyncssh.SSHServerConnection, peer: str, lease: Lease) -> None:
        self._lease, self._peer, self._given_up, self._granted_at = lease, peer, False, 0.0
        connection._update_recv_pktlen(PACKET_BYTES)
        loop = asyncio.get_running_loop()
        super().__init__(connection, loop, None, "strict", FIRST_WINDOW_BYTES, PACKET_BYTES)

    @property
    def lease(self) -> Lease:
        """What it may hold."""
        return self._lease

    def give_up(self) -> None:
        """Nobody waits for it any more: it is closed, at once or as soon as the other side has opened it."""
        self._given_up = True
        self._lease.charge_to(self._peer)
        self.abort()

    def process_open_confirmation(self, *arguments: Any) -> None:
        """The other side has opened it."""
        super().process_open_confirmation(*arguments)
        if self._given_up:
            self.abort()

    def _accept_data(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        """Data has come. What has to wait is kept in few pieces: an object per byte would cost a hundred times that."""
        waits = self._recv_buf and self._recv_paused and self._send_state not in {"close_pending", "closed"}
        last = self._recv_buf[-1][0] if waits else b""
        if data and isinstance(last, bytearray) and len(last) < _PIECE_BYTES:
            self._recv_window -= len(data)
            last += data
        else:
            super()._accept_data(bytearray(data) if self._recv_paused else data, datatype)  # type: ignore[arg-type]

    def _deliver_data(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._recv_window < self._init_recv_window / 2:  # when asyncssh is about to grant more
            self._resize_window()
        super()._deliver_data(data, datatype)

    def _resize_window(self) -> None:
        now = self._loop.time()
        lasted_s, self._granted_at = now - self._granted_at, now
        window = self._init_recv_window
        if lasted_s < _BUSY_S and window < WINDOW_BYTES and self._lease.grow(2 * window):
            self._init_recv_window = 2 * window
        elif lasted_s > _IDLE_S and window > FIRST_WINDOW_BYTES:
            self._init_recv_window = window // 2
            self._lease.shrink(window)

    def write(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        """Send it, or keep it with what waits already, in few pieces."""
        last = self._send_buf[-1][0] if self._send_buf else None
        if last is not None and self._send_state == "open" and len(last) < _PIECE_BYTES:
            last += data
            self._send_buf_len += len(data)
            self._flush_send_buf()
        else:
            super().write(data, datatype)

    def _close_send(self) -> None:
        """What is left of it from here on is the peer's, until that has closed it too."""
        super()._close_send()
        self._lease.charge_to(self._peer)

    def _cleanup(self, exc: Exception | None = None) -> None:
        super()._cleanup(exc)
        self._lease.release()


def bound_control_channel(channel: Any) -> Any:
    """The control session's channel, which takes one command and no variables, signals, terminals or subsystems."""
    for name in dir(channel):
        if name.startswith("_process_") and name.endswith("_request") and name not in _ALLOWED:
            setattr(channel, name, _refuse)
    return channel


def _refuse(_packet: Any) -> bool:
    return False
