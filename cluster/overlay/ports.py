"""Which ports of this machine are free, and who listens at those that are not."""

import re
import socket
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from cluster.overlay.addresses import NodeAddress

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
# One line of a table: local address and port, state 0A (listening), and further on the owner and the socket's number.
_LISTENING = re.compile(
    rb"^ *\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F:]+ 0A \S+ \S+ \S+ +(\d+) +\d+ (\d+)", re.MULTILINE
)
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - recognised, not bound


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket of this network namespace. `inode` is its number, `user_id` its owner's."""

    host: str
    port: int
    user_id: int
    inode: int

    def receives(self, host: str) -> bool:
        """Whether connections to the IPv4 address `host` may arrive here."""
        return self.host in (*_EVERYWHERE, host, f"::ffff:{host}")


def can_bind(host: str, port: int) -> bool:
    """Whether a listener could be opened there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def listeners(ports: Container[int]) -> list[Listener]:
    """Whatever listens at one of `ports`, at any address, IPv4 and IPv6. Raises OSError without /proc."""
    found = []
    for table in _TABLES:
        if table.endswith("6") and not Path(table).exists():  # a kernel without IPv6
            continue
        for address, port, user_id, inode in _LISTENING.findall(Path(table).read_bytes()):
            if int(port, 16) in ports:
                found.append(Listener(_host(address), int(port, 16), int(user_id), int(inode)))
    return found


def _host(hexadecimal: bytes) -> str:
    """The kernel prints addresses as words in this machine's byte order."""
    words = bytes.fromhex(hexadecimal.decode())
    raw = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def is_free(address: NodeAddress) -> bool:
    """Whether nothing listens in the whole block, at any address, and the ports that Ray binds first can be bound.

    What listens at the wildcard address there would be mistaken for a port of the node.
    """
    first = (address.base_port, *range(address.base_port + 3, address.base_port + 12))
    return not listeners(address.ports) and all(can_bind("", port) for port in first)
