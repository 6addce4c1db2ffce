import pytest

from cluster.overlay.addresses import (
    BLOCK_SIZE,
    BLOCKS,
    AddressesExhausted,
    NodeAddress,
    first_free,
    node_address,
)


def ports(address: NodeAddress) -> set[int]:
    return set(range(address.base_port, address.base_port + BLOCK_SIZE))


def test_blocks_are_disjoint_and_below_the_ephemeral_range() -> None:
    addresses = [node_address(block) for block in range(BLOCKS)]
    assert BLOCKS >= 300
    assert len({a.host for a in addresses}) == BLOCKS
    assert len(set().union(*map(ports, addresses))) == BLOCKS * BLOCK_SIZE
    assert all(10_000 <= port < 32_768 for a in addresses for port in ports(a))
    assert all(a.host.startswith("127.77.") and 1 <= int(a.host.split(".")[3]) <= 250 for a in addresses)


def test_every_port_of_ray_lies_in_the_nodes_own_block_once() -> None:
    address = node_address(7)
    flags = dict(flag.split("=") for flag in address.ray_start_flags())
    assert flags.pop("--node-ip-address") == address.host
    workers = range(int(flags.pop("--min-worker-port")), int(flags.pop("--max-worker-port")) + 1)
    named = [int(port) for port in flags.values()]
    named += [
        address.gcs_port,
        address.dashboard_port,
        address.client_port,
        address.orchestrator_port,
        address.http_port,
    ]
    assert len(set(named)) == len(named)
    assert not set(named) & set(workers)
    assert set(named) | set(workers) <= ports(address)


def test_the_first_free_block_goes_round() -> None:
    taken = {node_address(BLOCKS - 1), node_address(0)}
    assert first_free(BLOCKS - 1, lambda a: a not in taken) == node_address(1)


def test_no_free_block_is_an_error_that_says_so() -> None:
    with pytest.raises(AddressesExhausted, match="in use"):
        first_free(0, lambda _address: False)


def test_a_block_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        node_address(BLOCKS)
