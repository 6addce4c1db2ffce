"""What a node may do in the overlay: be itself, and reach Ray's other nodes. Everything else is refused."""

from collections.abc import Iterable

from cluster.overlay.addresses import NodeAddress


def may_listen(own: NodeAddress, host: str, port: int) -> bool:
    """Whether a node may offer `port` at `host`: only its own address, only inside its own block."""
    return host == own.host and port in own.ports


def reachable(own: NodeAddress, head: NodeAddress, nodes: Iterable[NodeAddress], host: str, port: int) -> bool:
    """Whether the node `own` may connect to `host`:`port`: another live node's block, or one of the head's Ray ports.

    Not the head's dashboard, its client server, the orchestrator, the API, or any other service of that machine.
    """
    if host == head.host:
        return port in head.head_ports
    return any(node.host == host and port in node.ports for node in nodes if node != own)
