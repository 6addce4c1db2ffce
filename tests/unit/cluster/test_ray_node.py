"""How workers of one machine start their nodes."""

from cluster.ray_node import Turn


def test_only_one_node_of_a_machine_starts_at_a_time() -> None:
    first, second, third = Turn(), Turn(), Turn()
    assert first.take()
    assert not second.take()
    first.end()
    assert second.take()
    assert not third.take()
    second.end()
    third.end()
