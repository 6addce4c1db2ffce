"""Nothing but the cluster itself is reached inside the head's port block, whatever listens there and wherever."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard
from cluster.head.kubernetes_entrypoint import PodError, refuse_strangers
from cluster.local import embedded
from cluster.local.listening import OwnListeners, describe
from cluster.local.processes import MARKER
from cluster.overlay.addresses import NodeAddress, node_address
from cluster.overlay.ports import Listener, is_free, listeners
from tests.waiting import wait_until

# Far from what a cluster on this machine would take; one for each process that runs these tests at once.
HEAD = node_address(240 + os.getpid() % 50)
PORT = HEAD.base_port + 50
WAYS = {
    "every IPv4 address": (socket.AF_INET, "0.0.0.0"),
    "the head's own address": (socket.AF_INET, HEAD.host),
    "every address of both families": (socket.AF_INET6, "::"),
    "the head's address, written as IPv6": (socket.AF_INET6, f"::ffff:{HEAD.host}"),
}
ELSEWHERE = {"another loopback address": (socket.AF_INET, "127.0.0.9"), "IPv6 loopback": (socket.AF_INET6, "::1")}
_SERVE = """
import socket, sys, time
listener = socket.socket(int(sys.argv[1]))
if listener.family == socket.AF_INET6:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[2], int(sys.argv[3])))
listener.listen()
time.sleep(60)
"""


@contextlib.contextmanager
def service(way: tuple[int, str], mark: str = "", port: int = PORT) -> Iterator[None]:
    """A program that listens there, until the block ends. `mark`: the cluster that it belongs to."""
    family, host = way
    environment = {**os.environ, MARKER: mark}
    command = [sys.executable, "-c", _SERVE, str(int(family)), host, str(port)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_until("it listens", lambda: bool(listeners({port})))
            yield
        finally:
            process.kill()


def own(tmp_path: Path) -> OwnListeners:
    return OwnListeners("aima-this", tmp_path, HEAD)


def serves(judge: OwnListeners, host: str = HEAD.host, port: int = PORT) -> bool:
    return asyncio.run(judge.serves(host, port))


@pytest.mark.parametrize("way", [*WAYS.values(), *ELSEWHERE.values()], ids=[*WAYS, *ELSEWHERE])
def test_a_block_is_not_free_when_anything_listens_in_it(way: tuple[int, str]) -> None:
    assert is_free(HEAD)
    with service(way):
        assert not is_free(HEAD)


def test_a_new_cluster_takes_another_block_and_a_cluster_that_is_revived_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = ClusterCard("aima-this", HEAD.host, HEAD.base_port, "http://x", "http://y", 0.0)
    embedded._refuse_strangers(card)
    with service(WAYS["every IPv4 address"]):
        with pytest.raises(embedded.ClusterError, match=rf"0\.0\.0\.0:{PORT} by .*-c.*aima down"):
            embedded._refuse_strangers(card)
        monkeypatch.setattr(embedded, "first_free", lambda _start, free: _first(free))
        settings = Settings(state_dir=tmp_path)
        assert embedded._new_card(settings).base_port != HEAD.base_port


def _first(free: object) -> NodeAddress:
    assert callable(free)
    return next(address for address in (HEAD, *map(node_address, range(300, 350))) if free(address))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_another_program_is_not_reached_however_it_listens(tmp_path: Path, way: tuple[int, str]) -> None:
    with service(way):
        assert not serves(own(tmp_path))
    with service(way, mark="aima-other"):
        assert not serves(own(tmp_path))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_clusters_own_program_is_reached(tmp_path: Path, way: tuple[int, str]) -> None:
    with service(way, mark="aima-this"):
        assert serves(own(tmp_path))


@pytest.mark.parametrize("way", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_cannot_take_the_connection_does_not_matter(tmp_path: Path, way: tuple[int, str]) -> None:
    with service(way), service(WAYS["the head's own address"], mark="aima-this"):
        assert serves(own(tmp_path))


def test_a_program_that_takes_a_port_later_is_refused_too(tmp_path: Path) -> None:
    now = 0.0
    judge = OwnListeners("aima-this", tmp_path, HEAD, lambda: now)
    with service(WAYS["the head's own address"], mark="aima-this"):
        assert serves(judge)
    now += 1
    with service(WAYS["every IPv4 address"]):
        assert not serves(judge)


def test_a_wildcard_listener_beside_the_clusters_own_is_refused(tmp_path: Path) -> None:
    """Were the own one to end, connections would arrive at the other."""
    with service(WAYS["every IPv4 address"]):
        with socket.socket() as mine:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                mine.bind((HEAD.host, PORT))
                mine.listen()
        assert not serves(own(tmp_path))


def test_where_nothing_listens_nothing_is_refused(tmp_path: Path) -> None:
    assert serves(own(tmp_path))


def test_processes_out_of_sight_are_the_clusters_when_they_are_of_the_user_who_runs_the_gcs(tmp_path: Path) -> None:
    """As in Kubernetes, where the head's processes are another container's."""
    judge, gone = own(tmp_path), 2**40
    theirs = os.geteuid() + 1
    listener = Listener("0.0.0.0", PORT, theirs, gone)
    assert judge._inspect([listener], {theirs}) == {gone: True}
    assert judge._inspect([listener], {theirs + 1}) == {gone: False}
    assert judge._inspect([listener], set()) == {gone: False}
    mine = Listener("0.0.0.0", PORT, os.geteuid(), gone)
    assert judge._inspect([mine], {os.geteuid()}) == {gone: False}
    assert f"user {theirs}" in describe(listener)


@pytest.mark.parametrize(
    ("role", "offset", "refused"),
    [("head", 0, True), ("head", 63, True), ("head", 9, False), ("orchestrator", 9, True), ("orchestrator", 0, False)],
)
def test_a_pods_container_refuses_a_block_in_which_a_stranger_listens(role: str, offset: int, refused: bool) -> None:
    address = node_address(0)
    listening = [Listener("0.0.0.0", address.base_port + offset, 1337, 1)]
    with pytest.raises(PodError, match=r"10000-10063.*user 1337") if refused else contextlib.nullcontext():
        refuse_strangers(role, address, listening)
