"""The wall clock of some processes is off, that of all others is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.servers.clocks import Clocks

_TELLS = """
import sys, time
for _line in sys.stdin:
    true = time.clock_gettime(time.CLOCK_REALTIME)
    print(time.time() - true, time.time_ns() / 1e9 - true, flush=True)
"""


@pytest.mark.parametrize(
    ("marks", "machine", "moves"),
    [
        ({"AIMA_CLUSTER": "aima-1"}, "head", True),
        ({"AIMA_CLUSTER": "aima-1", "AIMA_INSTANCE": "worker-1"}, "worker-1", True),
        ({"AIMA_INSTANCE": "worker-2"}, "worker-1", False),
        ({}, "head", False),
    ],
)
def test_a_machine_s_processes_see_its_clock_jump_and_no_others(
    tmp_path: Path, marks: dict[str, str], machine: str, moves: bool
) -> None:
    clocks = Clocks(tmp_path)
    with clocks.worn():
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AIMA_")} | marks
    command = [sys.executable, "-c", _TELLS]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:

        def errors() -> list[float]:
            assert child.stdin
            assert child.stdout
            child.stdin.write("now\n")
            child.stdin.flush()
            return [float(told) for told in child.stdout.readline().split()]

        assert errors() == pytest.approx([0.0, 0.0], abs=1.0)
        with clocks.off(machine, -300.0) as number:
            assert number == moves
            assert errors() == pytest.approx([-300.0 * moves] * 2, abs=1.0)
        assert errors() == pytest.approx([0.0, 0.0], abs=1.0)
    assert str(tmp_path) not in os.environ.get("PYTHONPATH", "")
