"""The way from rented machines to the hub, with somebody in between who can let nothing through."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.overlay.links import carry, end

_DIAL_TIMEOUT_S = 5.0


class Link:
    """A TCP port that leads to the hub's.

    `mute`: nothing passes and nobody is told, as when a route is lost; what was sent arrives once it is mended.
    `cut`: every connection is reset and none is accepted, as when a proxy restarts.
    """

    def __init__(self, hub_port: int) -> None:
        self._hub_port = hub_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._passage, self._open_door = threading.Event(), threading.Event()
        self._passage.set()
        self._open_door.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._over = False
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def mute(self) -> Iterator[int]:
        """Silence until the block ends; gives how many connections it concerns."""
        self._passage.clear()
        try:
            yield self.connections()
        finally:
            self._passage.set()

    @contextlib.contextmanager
    def cut(self) -> Iterator[int]:
        """No connection until the block ends; gives how many were reset."""
        number = self.connections()
        self._open_door.clear()
        self._end_all()
        try:
            yield number
        finally:
            self._open_door.set()

    def connections(self) -> int:
        """How many machines are connected now."""
        with self._lock:
            return len(self._sockets) // 2

    def close(self) -> None:
        """Step aside for good."""
        self._over = True
        self._passage.set()
        end(self._listener)
        self._end_all()

    def _end_all(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            end(each)

    def _accept(self) -> None:
        while not self._over:
            try:
                near, _ = self._listener.accept()
                if not self._open_door.is_set():
                    near.close()
                    continue
                far = self._dial(near)
            except OSError:
                continue
            with self._lock:
                self._sockets |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()
        self._listener.close()

    def _dial(self, near: socket.socket) -> socket.socket:
        try:
            far = socket.create_connection(("127.0.0.1", self._hub_port), timeout=_DIAL_TIMEOUT_S)
        except OSError:  # the hub is dead
            near.close()
            raise
        far.settimeout(None)
        return far

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        carry(source, sink, self._passage)
        with self._lock:
            known = source in self._sockets
            self._sockets.discard(source)
        if known:
            source.close()
