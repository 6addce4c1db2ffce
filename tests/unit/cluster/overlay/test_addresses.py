import pytest

from cluster.overlay.addresses import (
    BLOCK_SIZE,
    BLOCKS,
    QUARANTINE_S,
    Addresses,
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


def everywhere(_address: NodeAddress) -> bool:
    return True


def test_three_hundred_launches_have_three_hundred_addresses_and_keep_them() -> None:
    head = node_address(0)
    addresses = Addresses(head)
    given = {f"n{i}": addresses.acquire(f"n{i}", 0.0, everywhere) for i in range(300)}
    assert len({*given.values(), head}) == 301
    assert addresses.acquire("n7", 1.0, everywhere) == given["n7"]


def test_a_block_rests_before_it_is_given_again() -> None:
    addresses = Addresses(node_address(0))
    for i in range(BLOCKS - 1):
        addresses.acquire(f"n{i}", 0.0, everywhere)
    addresses.release("n5", 100.0)
    addresses.release("nobody", 100.0)
    with pytest.raises(AddressesExhausted):
        addresses.acquire("new", 100.0 + QUARANTINE_S - 1, everywhere)
    assert addresses.acquire("new", 100.0 + QUARANTINE_S + 1, everywhere) == node_address(6)


def test_what_is_held_already_is_not_given_to_another() -> None:
    addresses = Addresses(node_address(3), {"old": node_address(5)})
    assert [addresses.acquire(f"n{i}", 0.0, everywhere).block for i in range(2)] == [6, 7]
    assert addresses.acquire("old", 0.0, everywhere) == node_address(5)


def test_a_heads_own_services_are_no_ports_of_ray() -> None:
    head = node_address(0)
    own = {head.dashboard_port, head.client_port, head.orchestrator_port, head.http_port, head.hub_port}
    assert not own & set(head.head_ports)
    assert head.gcs_port in head.head_ports
