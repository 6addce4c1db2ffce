"""Workers that join in good form and then attack the hub: what that costs it, and what the others notice."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.overlay.addresses import BLOCK_SIZE, FIRST_PORT, node_address
from tests.support.overlay import namespaces
from tests.support.overlay.hosts import Hosts, Program, hosts
from tests.support.overlay.peer import HEAD
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(namespaces.missing()), reason=namespaces.missing())
HUB_PORT = 7022
MIB = 1024**2
ATTACK_S = 20


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Hosts]:
    """A head, two workers that conspire and an honest one."""
    with (
        namespaces.network(HUB_PORT, ["w1", "w2", "w3"]) as network,
        hosts(network, tmp_path, ["a", "b", "honest"]) as made,
    ):
        yield made


def attack(own: Hosts, host: str, name: str, targets: list[tuple[str, int]]) -> Program:
    """A worker that opens as many streams as it gets, to all targets, and reads none."""
    command = [sys.executable, "-m", "tests.support.overlay.intruder", str(own.directory), name, str(HUB_PORT)]
    program = Program(own.where.command(host, command))
    own.started.append(program)
    program.give(json.dumps({"collude": {"targets": targets, "seconds": ATTACK_S}}))
    return program


def test_two_workers_that_conspire_fill_no_memory_and_stop_no_third(own: Hosts) -> None:
    hub = own.start_hub()
    _, honest = own.join("w3", "honest")
    own.wait_until_reached("w3")
    before = hub.tell("usage")["rss_bytes"]
    head = (HEAD.host, HEAD.base_port + 21)
    own.serve("head", head[1])
    # Addresses are given in order: the honest one has the first, these the second and third.
    first, second = _next_addresses(honest.base_port)
    attackers = [attack(own, "w1", "a", [head, second]), attack(own, "w2", "b", [head, first])]
    for each in attackers:
        each.wait_for("ready")
    highest = 0
    while not all("collude" in str(each.said) for each in attackers):
        highest = max(highest, hub.tell("usage")["rss_bytes"])
        assert own.ask("w3", HEAD, "send 1000000").get("bytes") == 1_000_000
        assert own.ask("head", honest, "echo on").get("text") == "on"
    grown = highest - before
    assert grown < 128 * MIB, f"the hub grew by {grown / MIB:.0f} MiB"
    for each in attackers:
        found = each.wait_for("collude")["collude"]
        assert found["opened"] > 10
        each.kill()
    wait_until("the hub has recovered", lambda: own.ask("w3", HEAD, "echo on").get("text") == "on")


def _next_addresses(base_port: int) -> tuple[tuple[str, int], tuple[str, int]]:
    block = (base_port - FIRST_PORT) // BLOCK_SIZE
    found = [node_address(block + 1), node_address(block + 2)]
    return (found[0].host, found[0].base_port), (found[1].host, found[1].base_port)
