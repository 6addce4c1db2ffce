"""A queue of one's own: a Redis that keeps nothing on disk, so that whoever kills it has emptied it."""

import contextlib
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator

import psutil

from cluster.overlay.ports import can_bind
from tests.waiting import wait_until

_PROGRAM = "redis-server"


def missing() -> str:
    """Why there can be none here, or ""."""
    return "" if shutil.which(_PROGRAM) else f"{_PROGRAM} is not installed here"


class Broker:
    """A running server at `url`. `start` and `kill` may be said in any order, by one thread at a time."""

    def __init__(self) -> None:
        # At random: two runs that begin at once must not both find the same port free.
        self._port = next(port for port in random.sample(range(9000, 9400), 400) if can_bind("", port))
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """With nothing in it; returns when it answers."""
        command = [_PROGRAM, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._server = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the queue answers", lambda: self.ask("PING") == "+PONG")

    def kill(self) -> None:
        """SIGKILL: all that was in it is lost."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def process(self) -> psutil.Process:
        """The server."""
        assert self._server is not None
        return psutil.Process(self._server.pid)

    def ask(self, command: str) -> str:
        """One command's one line; "" when nobody answers."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 2) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(4096).decode().strip()
        return ""


@contextlib.contextmanager
def running() -> Iterator[Broker]:
    """One until the block ends."""
    broker = Broker()
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
