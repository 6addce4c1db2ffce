"""The head's first process: it adopts what its children leave, waits in silence, and ends everything with the first."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cluster.head import supervisor
from tests.waiting import wait_until

# What `cluster.head.start` does: adopt, start something that starts Ray's processes and ends, become the supervisor.
_HEAD = """
import subprocess, sys
from cluster.head import supervisor
supervisor.adopt_orphans()
pids = subprocess.run([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, check=True).stdout
sys.stdout.buffer.write(pids)
sys.stdout.flush()
supervisor.become()
"""


_START = """
import subprocess, sys
passing = [sys.executable, "-c", "import signal; signal.signal(signal.SIGUSR1, lambda *_: exit()); signal.pause()"]
lasting = ["sleep", "600"]
print(*[subprocess.Popen(command, stdout=-3, stderr=-3).pid for command in (lasting, lasting, passing)])
"""


@contextmanager
def head() -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """A head whose three processes, the last one only passing through, were started by one that has ended."""
    command = [sys.executable, "-c", _HEAD, _START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        try:
            yield process, children
        finally:
            for child in children:
                if child.is_running():
                    child.kill()
            process.kill()


def test_it_ends_everything_when_one_of_rays_processes_ends() -> None:
    with head() as (process, (one, other, _passing)):
        assert one.ppid() == other.ppid() == process.pid
        one.kill()
        _out, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert b"sleep has ended with -9" in err
        assert not other.is_running()


def test_what_ends_well_was_only_passing_through() -> None:
    with head() as (process, (one, _other, passing)):
        wait_until("the keeper", lambda: "-I" in psutil.Process(process.pid).cmdline(), 20)
        wait_until("it listens", lambda: _catches(passing.pid, signal.SIGUSR1), 20)
        passing.send_signal(signal.SIGUSR1)
        wait_until("it has ended", lambda: not psutil.pid_exists(passing.pid), 20)
        one.kill()
        _out, err = process.communicate(timeout=30)
        assert b"sleep has ended with -9" in err


def _catches(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        (caught,) = (line.split()[1] for line in status if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_told_to_end_it_ends_everything_and_calls_that_success() -> None:
    with head() as (process, children):
        wait_until("the keeper", lambda: "-I" in psutil.Process(process.pid).cmdline(), 20)
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert err == b""
        assert not any(child.is_running() for child in children)


_PARENT = """
import subprocess, sys
from cluster.head import supervisor
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
supervisor.end_children(grace_s=0.2)
print(supervisor.children())
"""
_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.{}); print(1, flush=True); time.sleep(600)"


@pytest.mark.parametrize("answer", ["SIG_DFL", "SIG_IGN"])
def test_what_does_not_end_when_told_is_killed(answer: str) -> None:
    command = [sys.executable, "-c", _PARENT, _CHILD.format(answer)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    assert done.stdout.strip() == b"{}"


def test_it_knows_its_own_children_only() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            assert supervisor.children()[process.pid] == "sleep"
            assert os.getpid() not in supervisor.children()
            assert os.getppid() not in supervisor.children()
        finally:
            process.kill()


_WATCHED = """
import subprocess, sys, time
from cluster.head import supervisor
well = subprocess.Popen(["true"])
print(supervisor.one_has_failed())
stays = subprocess.Popen(["sleep", "600"])
bad = subprocess.Popen(["sh", "-c", "exit 3" if "exit" in sys.argv else "kill -9 $$"])
while not supervisor.one_has_failed():
    time.sleep(0.01)
print(supervisor.one_has_failed(), flush=True)
sys.exit(supervisor.keep())
"""


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_child_that_fails_is_seen_and_left_for_the_keeper(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, how], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout.split() == ["False", "True"]
    assert done.returncode == 1
    assert f"has ended with {3 if how == 'exit' else -9}" in done.stderr


_TOLD = """#!/bin/sh
trap 'echo told >> {}; exit' TERM
echo ready
while :; do sleep 0.05; done
"""
_TWO = """
import subprocess, sys
from cluster.head import supervisor
for path in sys.argv[1:]:
    subprocess.Popen([path], stdout=subprocess.PIPE).stdout.readline()
supervisor.end_children(grace_s=10)
print(supervisor.children())
"""


def test_rays_gcs_is_killed_and_the_others_are_told(tmp_path: Path) -> None:
    """Told together with the raylet, it would write down the node's end and not that its actors are to move."""
    programs = [tmp_path / "raylet", tmp_path / "gcs_server"]
    for program in programs:
        program.write_text(_TOLD.format(program.with_suffix(".told")))
        program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", _TWO, *map(str, programs)], capture_output=True, check=True, timeout=30
    )
    assert done.stdout.strip() == b"{}"
    assert [program.with_suffix(".told").exists() for program in programs] == [True, False]
