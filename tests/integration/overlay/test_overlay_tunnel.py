"""The overlay alone, between hosts that a NAT keeps apart: what gets through, what does not, and what survives."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.overlay.addresses import node_address
from tests.support.overlay import namespaces
from tests.support.overlay.hosts import ROOT, Hosts, hosts
from tests.support.overlay.namespaces import HEAD_ADDRESS
from tests.support.overlay.peer import HEAD, service_port
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(namespaces.missing()), reason=namespaces.missing())
HUB_PORT = 7022
MANY = [f"n{i}" for i in range(20)]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Hosts]:
    """A head, and workers w1 and w2 behind the NAT. A silent link is given up after 12 s."""
    with (
        namespaces.network(HUB_PORT, ["w1", "w2"]) as network,
        hosts(network, tmp_path, ["a", "b", *MANY], silence_s=12) as made,
    ):
        yield made


def events(program: Any) -> list[str]:
    return [said["event"] for said in program.said if "event" in said]


def test_large_streams_run_in_every_direction(own: Hosts) -> None:
    own.start_hub()
    (_, a), (_, b) = own.join("w1", "a"), own.join("w2", "b")
    own.wait_until_reached("w1", b)
    own.wait_until_reached("w2", a)
    ways = [("w1", HEAD), ("head", a), ("w1", b), ("w2", a), ("head", b)]
    assert [own.ask(host, to, "send 20000000")["bytes"] for host, to in ways] == [20_000_000] * 5


def test_nothing_else_can_be_reached(own: Hosts) -> None:
    """A worker with the node's own key asks the hub for everything it could want."""
    hub = own.start_hub()
    own.join("w1", "a")
    _, b = own.join("w2", "b")
    tries = {
        "the database": ("127.0.0.1", 5432),
        "the queue": ("127.0.0.1", 5672),
        "Kubernetes": ("10.96.0.1", 443),
        "the hub itself": ("127.0.0.1", HUB_PORT),
        "the head by its real address": (HEAD_ADDRESS, service_port(HEAD)),
        "the dashboard": (HEAD.host, HEAD.dashboard_port),
        "the orchestrator": (HEAD.host, HEAD.orchestrator_port),
        "an address of nobody": (node_address(50).host, node_address(50).base_port),
        "the internet": ("example.org", 443),
    }
    allowed = {"another node": (b.host, service_port(b)), "the head's Ray": (HEAD.host, service_port(HEAD))}
    offers = {"another's address": (b.host, b.base_port), "the head's": (HEAD.host, HEAD.gcs_port), "all": ("", 8080)}
    found = _intrude(own, {"connect": {**tries, **allowed}, "listen": offers})
    assert {what for what, reached in found["connect"].items() if reached} == set(allowed)
    assert not any(found["listen"].values())
    assert not found["shell"]
    assert any("may not connect to 127.0.0.1:5432" in event for event in events(hub))


def _intrude(own: Hosts, wishes: dict[str, Any]) -> dict[str, Any]:
    """What a worker that speaks SSH for itself is allowed, by wish. It joins as launch n0 from w1."""
    port = str(HUB_PORT)
    command = own.where.command(
        "w1", [sys.executable, "-m", "tests.support.overlay.intruder", str(own.directory), "n0", port]
    )
    done = subprocess.run(command, input=json.dumps(wishes), stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    return dict(json.loads(done.stdout))


def test_a_used_token_and_a_false_hub_are_refused_and_reported(own: Hosts) -> None:
    hub = own.start_hub()
    own.join("w1", "a")
    thief = own.start_spoke("w2", "a")
    assert thief.wait_for("ended")["refused"]
    wait_until("it is reported", lambda: any("token is wrong, used or expired" in event for event in events(hub)))
    facts = json.loads((own.directory / "hub.json").read_text())
    (own.directory / "hub.json").write_text(json.dumps(facts | {"fingerprint": "SHA256:" + "A" * 43}))
    deceived = own.start_spoke("w2", "b").wait_for("ended")
    assert "is not our hub" in deceived["ended"]
    (own.directory / "hub.json").write_text(json.dumps(facts))
    own.join("w2", "b")  # its token was never shown to the false hub


def test_a_link_that_was_cut_shorter_than_the_silence_has_lost_nothing(own: Hosts) -> None:
    own.start_hub()
    a, address = own.join("w1", "a")
    own.wait_until_reached("w1")
    command = own.where.command("w1", [sys.executable, "-m", "tests.support.overlay.peer", "ask", HEAD.host])
    command += [str(service_port(HEAD)), "send 150000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as transfer:
        own.where.cut("w1")
        _stay_cut(own, 5)
        own.where.mend("w1")
        out, _ = transfer.communicate(timeout=120)
    assert json.loads(out)["bytes"] == 150_000_000
    assert a.alive
    own.wait_until_reached("head", address)


def _stay_cut(own: Hosts, seconds: float) -> None:
    """For as long as the kernel says, which is what the test is about."""
    own.where.run("gateway", "sleep", str(seconds))


def test_a_worker_comes_back_after_a_longer_silence_and_gives_up_after_the_grace(own: Hosts) -> None:
    hub = own.start_hub()
    (a, address), (b, _) = own.join("w1", "a", grace_s=60), own.join("w2", "b", grace_s=4)
    own.where.cut("w1")
    own.where.cut("w2")
    assert "away for longer than 4 s" in b.wait_for("ended", 90)["ended"]
    wait_until("the hub has noticed", lambda: hub.tell("usage")["up"] == [], 60)
    own.where.mend("w1")
    own.wait_until_reached("head", address, 90)
    assert hub.tell("usage")["up"] == ["a"]
    assert a.alive


def test_a_killed_hub_comes_back_with_the_same_nodes(own: Hosts) -> None:
    hub = own.start_hub()
    (a, address), (b, other) = own.join("w1", "a"), own.join("w2", "b")
    own.wait_until_reached("w1", other)
    hub.kill()
    again = own.start_hub()
    wait_until("both are back", lambda: sorted(again.tell("usage")["up"]) == ["a", "b"], 60)
    own.wait_until_reached("head", address)
    own.wait_until_reached("w1", other)
    assert a.alive
    assert b.alive


def test_twenty_workers_join_at_once(own: Hosts) -> None:
    hub = own.start_hub()
    spokes = [own.start_spoke("w1", name) for name in MANY]
    hosts_given = {spoke.wait_for("joined", 180)["joined"]["host"] for spoke in spokes}
    assert len(hosts_given) == 20
    wait_until("all are up", lambda: len(hub.tell("usage")["up"]) == 20, 60)
    assert hub.tell("usage")["rss_bytes"] < 200 * 1024**2


def test_a_worker_that_does_not_read_holds_up_nobody_and_costs_no_memory(own: Hosts) -> None:
    hub = own.start_hub()
    own.join("w1", "a")
    _, b = own.join("w2", "b")
    own.wait_until_reached("w1", b)
    before = hub.tell("usage")["rss_bytes"]
    found = _intrude(own, {"flood": {"host": HEAD.host, "port": service_port(HEAD), "streams": 32}})
    assert found["flood"] == 32
    assert hub.tell("usage")["rss_bytes"] - before < 100 * 1024**2
    assert own.ask("w1", b, "send 1000000")["bytes"] == 1_000_000


def test_garbage_and_slow_loris_on_the_port_keep_no_worker_out(own: Hosts) -> None:
    hub = own.start_hub()
    loris = "import socket, time; s = [socket.create_connection(('%s', %d)) for _ in range(200)]; time.sleep(60)"
    crowd = own.where.command("w2", [sys.executable, "-c", loris % (HEAD_ADDRESS, HUB_PORT)])
    with subprocess.Popen(crowd) as slow:
        try:
            for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, b"SSH-2.0-x\r\n" + bytes(range(256)) * 64):
                _send_junk(own, junk)
            own.join("w1", "a")
        finally:
            slow.kill()
    assert hub.alive


def _send_junk(own: Hosts, junk: bytes) -> None:
    code = (
        f"import socket; s = socket.create_connection(('{HEAD_ADDRESS}', {HUB_PORT})); s.sendall({junk!r}); s.recv(99)"
    )
    subprocess.run(own.where.command("w1", [sys.executable, "-c", code]), capture_output=True, check=False)


@pytest.mark.parametrize("kind", ["bare", "ssh", "exchange"])
def test_strangers_who_dial_all_the_time_keep_no_worker_out(own: Hosts, kind: str) -> None:
    """They come from the very network that the worker comes from, 250 a second; the benchmark takes 1,000."""
    hub = own.start_hub()
    before = hub.tell("usage")["rss_bytes"]
    with own.crowd("w2", per_second=250, seconds=100, kind=kind):
        own.join("w1", "a")
        again, address = own.join("w1", "b")
        own.wait_until_reached("head", address)
        assert hub.tell("usage")["rss_bytes"] - before < 64 * 1024**2
    assert again.alive
