"""A crowd at the hub's door: connections at a fixed rate that say little or nothing and stay.

python -m tests.support.overlay.flood HOST PORT PER_SECOND SECONDS KIND

KIND: `bare` says nothing, `ssh` sends the first line of an SSH client and no more, `exchange` begins a key exchange.
Prints how many were opened. For loopback and the tests' own networks only; the number of open sockets is bounded.
"""

import ipaddress
import json
import socket
import sys
import time
from collections import deque

_OWN = [ipaddress.ip_network(each) for each in ("127.0.0.0/8", "10.77.0.0/16", "10.78.0.0/16")]
_MAX_SECONDS, _MAX_OPEN = 120.0, 8000
_LINE = b"SSH-2.0-crowd\r\n"
_SAYS = {"bare": b"", "ssh": _LINE, "exchange": _LINE + (3000).to_bytes(4, "big") + bytes(99)}


class Crowd:
    """Connections that were begun, of which those that stand say their part once."""

    def __init__(self, where: tuple[str, int], says: bytes) -> None:
        self._where, self._says = where, says
        self._held: deque[socket.socket] = deque()
        self._silent: deque[socket.socket] = deque()

    def grow(self, count: int) -> None:
        """Begin so many more."""
        for _ in range(count):
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex(self._where)
            self._held.append(made)
            if self._says:
                self._silent.append(made)
            if len(self._held) > _MAX_OPEN:
                self._held.popleft().close()

    def speak(self) -> None:
        """Those that have connected since."""
        for _ in range(len(self._silent)):
            each = self._silent.popleft()
            try:
                each.send(self._says)
            except (BlockingIOError, BrokenPipeError):
                if each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    self._silent.append(each)
            except OSError:
                continue

    def close(self) -> None:
        """All go."""
        for each in self._held:
            each.close()


def flood(host: str, port: int, per_second: float, seconds: float, kind: str) -> int:
    """How many connections were opened."""
    if not any(ipaddress.ip_address(host) in network for network in _OWN):
        raise ValueError(f"{host} is not of the tests' own networks")
    crowd, started, opened = Crowd((host, port), _SAYS[kind]), time.monotonic(), 0
    while (passed := time.monotonic() - started) < min(seconds, _MAX_SECONDS):
        due = int(passed * per_second) - opened
        crowd.grow(due)
        opened += due
        crowd.speak()
        time.sleep(0.01)
    crowd.close()
    return opened


def main() -> None:
    """As the arguments say."""
    host, port, per_second, seconds, kind = sys.argv[1:]
    print(json.dumps({"opened": flood(host, int(port), float(per_second), float(seconds), kind)}))


if __name__ == "__main__":
    main()
