"""A phase reaches the machine's first process, and nothing of it lies on a disk."""

import os
import subprocess
import sys

import pytest

from serve_apps.models.boot_phases import VARIABLE, announce, listener


def test_what_a_child_announces_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with listener() as ear:
        child = "from serve_apps.models.boot_phases import announce; announce('model loaded')"
        subprocess.run([sys.executable, "-c", child], check=True)
        assert ear.recv(256) == b"model loaded"
        assert not os.path.exists(os.environ[VARIABLE])


def test_two_machines_of_one_network_do_not_hear_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with listener() as first, listener() as second:
        announce("joined")
        assert second.recv(256) == b"joined"
        with pytest.raises(BlockingIOError):
            first.recv(256)


def test_where_nobody_listens_it_is_said_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    announce("joined")
    listener().close()
    announce("joined")
