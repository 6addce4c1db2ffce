"""Which ports of this machine are free."""

import socket

from cluster.overlay.addresses import NodeAddress


def can_bind(host: str, port: int) -> bool:
    """Whether a listener could be opened there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def is_free(address: NodeAddress) -> bool:
    """Whether the ports that Ray will bind first can be bound, on every address (Ray binds the wildcard)."""
    return all(can_bind("", port) for port in (address.base_port, *range(address.base_port + 3, address.base_port + 9)))
