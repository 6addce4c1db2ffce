"""The hub's door: who is let through to SSH, while anybody may knock as often as the line allows.

A bare TCP connection costs a socket until its first line has come; only then is there an SSH connection, the expensive
part. An SSH client's first line holds its version, and a machine of ours writes its knocks there: digests of its join
token and of its key. They open nothing. But whoever the cluster waits for is let through first, at once and without
regard to what else waits, and everybody else has few places and a bounded rate.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.overlay.arrivals.crowd import Crowd, network_of

# Sockets that have not sent their first line: in all and from one network. The kernel holds at most 64 KiB of each.
_WAITING, _WAITING_OF_A_NETWORK = 512, 192
# How long the first line may take. A machine of ours sends it with the end of TCP's handshake.
FIRST_LINE_S = 5.0
_LINE_BYTES = 255
# SSH connections that have not shown who they are: of strangers, in all and from one network, and how many a second,
# since each costs some milliseconds of key exchange; and of machines that are waited for, in all and with one knock.
_STRANGERS, _STRANGERS_OF_A_NETWORK = 32, 16
_STRANGERS_PER_S, _STRANGERS_AT_ONCE = 10.0, 32.0
_EXPECTED, _EXPECTED_WITH_A_KNOCK = 256, 4
_ACCEPTED_AT_ONCE = 64
_BACKLOG = 4096
_AGAIN_S = 0.2


@dataclass(eq=False)
class Visit:
    """One connection, from its first byte until it has shown who it is or has gone."""

    connection: socket.socket
    network: str
    crowd: Crowd["Visit"]
    cut: Callable[[], None] = field(default=lambda: None)

    def over(self) -> None:
        """It waits no longer."""
        self.crowd.leave(self)


class Door:
    """Accepts connections; `welcome` begins SSH on one that is let through. `awaits` knows whose knock is expected."""

    def __init__(self, awaits: Callable[[str], bool], welcome: Callable[[Visit], None]) -> None:
        self._awaits, self._welcome = awaits, welcome
        self._waiting: Crowd[Visit] = Crowd(_WAITING, _WAITING_OF_A_NETWORK)
        self._strangers: Crowd[Visit] = Crowd(_STRANGERS, _STRANGERS_OF_A_NETWORK)
        self._expected: Crowd[Visit] = Crowd(_EXPECTED, _EXPECTED_WITH_A_KNOCK)
        self._allowance, self._allowed_at = _STRANGERS_AT_ONCE, 0.0
        self._listeners: list[socket.socket] = []
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def unknown(self) -> int:
        """How many have not shown who they are."""
        return len(self._waiting) + len(self._strangers) + len(self._expected)

    def listen(self, listener: socket.socket) -> None:
        """Let people knock at this socket too."""
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._listeners.append(listener)
        self._loop.add_reader(listener, self._accept, listener)
        if self._sweep is None:
            self._send_away_who_is_late()

    def close(self) -> None:
        """Nobody comes in any more, and whoever waits is sent away."""
        if self._sweep is not None:
            self._sweep.cancel()
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        for crowd in (self._waiting, self._strangers, self._expected):
            for visit in crowd.everybody():
                self._send_away(visit)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor is free, for example: others end meanwhile
                self._loop.remove_reader(listener)
                self._loop.call_later(_AGAIN_S, self._accept_again, listener)
                return
            connection.setblocking(False)
            network = network_of(peer[0]) if isinstance(peer, tuple) else "this machine"
            visit = Visit(connection, network, self._waiting, cut=connection.close)
            self._enter(visit, network)
            self._loop.add_reader(connection, self._look, visit)
            self._look(visit)  # its line may be here already, and others wait to push it out

    def _accept_again(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener, self._accept, listener)

    def _enter(self, visit: Visit, source: str) -> None:
        if (goes := visit.crowd.enter(visit, source, self._loop.time())) is not None:
            self._send_away(goes)

    def _send_away(self, visit: Visit) -> None:
        if visit.crowd is self._waiting:
            self._loop.remove_reader(visit.connection)
        visit.over()
        visit.cut()

    def _look(self, visit: Visit) -> None:
        """Read the first line without taking it: SSH is to find it there."""
        if visit not in self._waiting:
            return
        try:
            seen = visit.connection.recv(_LINE_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            seen = b""
        line, ended, _ = seen.partition(b"\n")
        if seen and not ended and len(seen) < _LINE_BYTES and b"SSH-2.0-".startswith(seen[:8]):
            self._loop.remove_reader(visit.connection)  # it would be called at once again
            self._loop.call_later(_AGAIN_S, self._look, visit)
        elif ended and line.startswith(b"SSH-2.0-"):
            self._loop.remove_reader(visit.connection)
            visit.over()
            self._let_through(visit, line.decode("ascii", errors="replace").split()[1:])
        else:
            self._send_away(visit)

    def _let_through(self, visit: Visit, knocks: list[str]) -> None:
        known = next(filter(self._awaits, knocks[:2]), "")
        if not known and not self._allowed():
            visit.connection.close()
            return
        visit.crowd = self._expected if known else self._strangers
        self._enter(visit, known or visit.network)
        self._welcome(visit)

    def _allowed(self) -> bool:
        """Whether another stranger may begin SSH now."""
        now = self._loop.time()
        earned = (now - self._allowed_at) * _STRANGERS_PER_S
        self._allowance, self._allowed_at = min(_STRANGERS_AT_ONCE, self._allowance + earned), now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _send_away_who_is_late(self) -> None:
        for visit in self._waiting.since_before(self._loop.time() - FIRST_LINE_S):
            self._send_away(visit)
        self._sweep = self._loop.call_later(1.0, self._send_away_who_is_late)


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to `host`:`port`; "" is every address of this machine, IPv4 and IPv6. Raises OSError."""
    if not host:
        with contextlib.suppress(OSError):
            return [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)]
        return [socket.create_server(("", port))]
    found = []
    for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        found.append(socket.create_server(address[:2], family=family))
    return found


def unix_listener(path: Path) -> socket.socket:
    """A socket for workers of this machine and this user. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener
