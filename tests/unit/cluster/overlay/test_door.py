"""Who may wait at the hub's door, and who has to go."""

import pytest

from cluster.overlay.arrivals.crowd import Crowd, network_of
from cluster.overlay.ssh import key_knock, token_digest, token_knock


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("this machine", "this machine"),
    ],
)
def test_addresses_are_counted_by_network(host: str, network: str) -> None:
    assert network_of(host) == network


def test_a_network_that_sends_too_many_pushes_out_its_own_oldest() -> None:
    crowd: Crowd[str] = Crowd(most=100, most_of_a_source=3)
    crowd.enter("honest", "here", 0.0)
    gone = [crowd.enter(f"flood {k}", "there", float(k)) for k in range(10)]
    assert gone == [None, None, None, *(f"flood {k}" for k in range(7))]
    assert "honest" in crowd
    assert len(crowd) == 4


def test_many_networks_push_out_the_largest_group_first() -> None:
    crowd: Crowd[str] = Crowd(most=6, most_of_a_source=4)
    crowd.enter("honest", "here", 0.0)
    for k in range(4):
        crowd.enter(f"flood {k}", "there", 1.0)
    crowd.enter("b", "elsewhere", 2.0)
    assert crowd.enter("c", "yet elsewhere", 3.0) == "flood 0"
    assert "honest" in crowd


def test_whoever_leaves_makes_room_and_the_late_are_known() -> None:
    crowd: Crowd[str] = Crowd(most=2, most_of_a_source=2)
    crowd.enter("a", "x", 1.0)
    crowd.enter("b", "x", 5.0)
    assert crowd.since_before(5.0) == ["a"]
    crowd.leave("a")
    crowd.leave("a")
    assert crowd.enter("c", "x", 6.0) is None
    assert crowd.everybody() == ["b", "c"]


def test_a_knock_tells_nothing_of_its_token_and_differs_from_any_other() -> None:
    token = "a-secret-join-token"
    knocks = {token_knock(token_digest(token)), token_knock(token_digest("another")), key_knock(token)}
    assert len(knocks) == 3
    assert all(len(knock) == 32 and token not in knock and token_digest(token).hex()[:32] != knock for knock in knocks)
