"""A short storm on the whole product; `python -m tests.chaos --minutes 60` is the long one."""

import json
import subprocess
import sys

import pytest

# Clouds that fail, a ledger that is full, locked and read-only, a queue that is lost, and an orchestrator that is
# killed while the head's clock is minutes off.
SEED, MINUTES = 252, 0.9


@pytest.mark.timeout(420)
def test_a_storm_loses_nothing_and_leaves_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--minutes", str(MINUTES), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["lost"], report["instances_left"], report["orphans"]) == (0, 0, 0)
    assert report["ledger_difference_s"] <= 1
    assert report["accepted"] >= 5
    assert len(report["faults"]) >= 3, "the storm was none"
    assert {"head's clock jumps", "orchestrator killed", "ledger read-only"} <= {*report["faults"]}
    assert "queue killed" in {*report["faults"], *report["left_out"]}
