"""A storm proves nothing if its faults are none: each that needs no cluster, tried."""

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.cloud_faults import KINDS as CLOUD_KINDS
from tests.chaos.link import Link
from tests.chaos.stage import locked


@pytest.fixture
def link() -> Iterator[Link]:
    """A link to a hub that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        threading.Thread(target=_echo, args=(hub,), daemon=True).start()
        made = Link(int(hub.getsockname()[1]))
        try:
            yield made
        finally:
            made.close()


def _echo(hub: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer, _ = hub.accept()
            threading.Thread(target=_send_back, args=(peer,), daemon=True).start()


def _send_back(peer: socket.socket) -> None:
    with peer, contextlib.suppress(OSError):
        while data := peer.recv(100):
            peer.sendall(data)


def dial(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def test_a_mute_link_says_nothing_and_loses_nothing(link: Link) -> None:
    with dial(link) as machine:
        machine.sendall(b"before")
        assert machine.recv(100) == b"before"
        with link.mute() as number:
            assert number == 1
            machine.sendall(b"meanwhile")
            machine.settimeout(0.3)
            with pytest.raises(TimeoutError):
                machine.recv(100)
        machine.settimeout(5)
        assert machine.recv(100) == b"meanwhile"


def test_a_cut_link_ends_every_connection_and_takes_none(link: Link) -> None:
    with dial(link) as machine:
        machine.sendall(b"before")
        assert machine.recv(100) == b"before"
        with link.cut() as number:
            assert number == 1
            assert machine.recv(100) == b""
            with dial(link) as again:
                assert again.recv(100) == b""
    with dial(link) as machine:
        machine.sendall(b"after")
        assert machine.recv(100) == b"after"


def test_a_locked_database_takes_no_write_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with contextlib.closing(sqlite3.connect(path, timeout=0.1)) as other:
        other.execute("CREATE TABLE t (x)")
        with locked(path), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO t VALUES (1)")
        other.execute("INSERT INTO t VALUES (2)")


def test_both_clouds_fail_in_every_way_that_their_fakes_know() -> None:
    kinds = [name.split()[0] for name in CLOUD_KINDS]
    assert kinds.count("runpod") >= 25
    assert kinds.count("vastai") >= 25
