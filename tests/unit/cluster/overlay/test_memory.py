"""The hub's budget for streams: what one node may hold, and what is left for the others whatever it does."""

import pytest

from cluster.overlay.streams.memory import CHANNEL_BYTES, MAX_CHANNELS, Lease, StreamMemory, StreamRefused

MIB = 1024**2


def fill(memory: StreamMemory, node: str) -> list[Lease]:
    """As many channels as it gets, each as large as it gets."""
    leases: list[Lease] = []
    while True:
        try:
            leases.append(memory.open(node))
        except StreamRefused:
            return leases
        while leases[-1].grow(MIB // 8):
            pass


@pytest.mark.parametrize("nodes", [2, 3, 5, 20])
def test_colluding_nodes_stay_within_the_budget_and_leave_each_other_node_its_part(nodes: int) -> None:
    memory = StreamMemory(96 * MIB, lambda: nodes)
    for attacker in ("a", "b"):
        fill(memory, attacker)
    assert memory.used_bytes <= 64 * MIB
    for honest in range(nodes - 2):
        part = 48 * MIB // nodes
        leases = [memory.open(f"honest {honest}") for _ in range(part // CHANNEL_BYTES)]
        assert len(leases) == part // CHANNEL_BYTES
    assert memory.used_bytes <= 96 * MIB


def test_even_when_all_but_one_conspire_the_last_has_its_part() -> None:
    memory = StreamMemory(96 * MIB, lambda: 10)
    for attacker in range(9):
        fill(memory, f"attacker {attacker}")
    memory.open("honest")
    assert memory.used_bytes <= 96 * MIB


def test_a_node_has_a_bounded_number_of_channels_and_hears_why() -> None:
    memory = StreamMemory(1024 * MIB)
    for _ in range(MAX_CHANNELS):
        memory.open("a")
    with pytest.raises(StreamRefused, match=rf"a has {MAX_CHANNELS} streams open, of at most {MAX_CHANNELS}"):
        memory.open("a")


def test_what_is_given_back_can_be_had_again() -> None:
    memory = StreamMemory(96 * MIB)
    for lease in fill(memory, "a"):
        lease.release()
        lease.release()
        assert not lease.grow(1)
    assert (memory.used_bytes, memory.channels) == (0, 0)


def test_what_only_the_peer_keeps_is_the_peers() -> None:
    memory = StreamMemory(96 * MIB)
    lease = memory.open("a")
    lease.charge_to("b")
    assert memory._used.keys() == {"b"}
    lease.release()
    assert memory.used_bytes == 0
