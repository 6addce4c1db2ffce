"""What a node may do, and each other thing that it may not."""

import pytest

from cluster.overlay.addresses import node_address
from cluster.overlay.authorisation import may_listen, reachable

HEAD, OWN, OTHER, GONE = (node_address(block) for block in (0, 1, 2, 3))


def test_a_node_listens_on_its_own_block_only() -> None:
    assert all(may_listen(OWN, OWN.host, port) for port in OWN.ports)
    refused = [(OTHER.host, OTHER.base_port), (OTHER.host, OWN.base_port), (OWN.host, OTHER.base_port)]
    refused += [("127.0.0.1", OWN.base_port), ("", OWN.base_port), ("0.0.0.0", OWN.base_port), ("localhost", 22)]
    refused += [(OWN.host, OWN.base_port - 1), (OWN.host, OWN.ports.stop), (OWN.host, 0), (HEAD.host, HEAD.gcs_port)]
    assert not [where for where in refused if may_listen(OWN, *where)]


def test_a_node_reaches_other_nodes_and_the_heads_ray() -> None:
    nodes = [OWN, OTHER]
    assert all(reachable(OWN, HEAD, nodes, OTHER.host, port) for port in OTHER.ports)
    assert all(reachable(OWN, HEAD, nodes, HEAD.host, port) for port in HEAD.head_ports)


@pytest.mark.parametrize(
    ("host", "port", "what"),
    [
        (HEAD.host, HEAD.dashboard_port, "Ray's dashboard and job API"),
        (HEAD.host, HEAD.client_port, "Ray's client server"),
        (HEAD.host, HEAD.orchestrator_port, "the orchestrator"),
        (HEAD.host, HEAD.http_port, "the API"),
        (HEAD.host, 5432, "a database at the head's address"),
        ("127.0.0.1", HEAD.gcs_port, "the head by another name"),
        ("127.0.0.1", 5432, "the database"),
        ("127.0.0.1", 5672, "the queue"),
        ("localhost", 6379, "Redis"),
        ("10.96.0.1", 443, "the API of Kubernetes"),
        ("169.254.169.254", 80, "the cloud's metadata"),
        ("example.org", 443, "the internet"),
        ("::1", 5432, "the database by IPv6"),
        (GONE.host, GONE.base_port, "a node that is gone"),
        (OTHER.host, OTHER.base_port - 1, "a port outside the other node's block"),
        (OTHER.host, OWN.base_port, "its own ports at another's address"),
        (OWN.host, OWN.base_port, "itself, the long way round"),
        ("", OTHER.base_port, "nobody"),
    ],
)
def test_everything_else_is_refused(host: str, port: int, what: str) -> None:
    assert not reachable(OWN, HEAD, [OWN, OTHER], host, port), what
