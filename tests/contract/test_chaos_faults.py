"""A storm proves nothing if its faults are none: each that needs no cluster, tried."""

import contextlib
import random
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from tests.chaos.cloud_faults import KINDS as CLOUD_KINDS
from tests.chaos.servers import bucket
from tests.chaos.servers.link import Link
from tests.chaos.stage import Stage, locked
from tests.chaos.storage_faults import KINDS as STORAGE_KINDS


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


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Nothing but a bucket."""
    with bucket.running() as own:
        yield cast(Stage, SimpleNamespace(bucket=own))


def asked(stage: Stage, key: str = "media/x") -> httpx.Response:
    """What S3 says to one request, with a second's patience."""
    assert stage.bucket
    url = stage.bucket.client.generate_presigned_url("get_object", {"Bucket": stage.bucket.name, "Key": key})
    return httpx.get(url, timeout=1.0)


def test_s3_errs_is_silent_and_breaks_off_and_each_ends(stage: Stage, tmp_path: Path) -> None:
    assert stage.bucket
    (tmp_path / "x").write_bytes(b"0123456789")
    assert stage.bucket.keep(tmp_path / "x") == f"{stage.bucket.media_uri}/x"
    for seed in range(4):
        with STORAGE_KINDS["S3 errs"].strike(stage, random.Random(seed)) as sentence:
            statuses = {asked(stage).status_code for _ in range(24)}
        assert statuses in (({500}, {503}) if "100%" in sentence else ({200, 500}, {200, 503})), sentence
    with STORAGE_KINDS["S3 silent"].strike(stage, random.Random(0)), pytest.raises(httpx.ReadTimeout):
        asked(stage)
    with STORAGE_KINDS["S3 breaks off"].strike(stage, random.Random(0)), pytest.raises(httpx.RemoteProtocolError):
        asked(stage)
    assert asked(stage).content == b"0123456789"


def test_the_later_of_two_s3_faults_counts_and_neither_outlives_itself(stage: Stage) -> None:
    first, second = (STORAGE_KINDS[name].strike(stage, random.Random(0)) for name in ("S3 silent", "S3 errs"))
    with contextlib.ExitStack() as later:
        with first:
            later.enter_context(second)
            assert asked(stage).status_code >= 500
        assert asked(stage).status_code >= 500
    assert asked(stage).status_code == 404


def test_both_clouds_fail_in_every_way_that_their_fakes_know() -> None:
    kinds = [name.split()[0] for name in CLOUD_KINDS]
    assert kinds.count("runpod") >= 25
    assert kinds.count("vastai") >= 25
