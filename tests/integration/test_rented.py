"""The first story on rented machines: the clouds' fake servers, whose containers join through the overlay."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest


@pytest.mark.timeout(420)
@pytest.mark.parametrize("cloud", ["runpod-fake", "vastai-fake"])
def test_the_demonstration_buys_one_machine_and_the_clouds_bill_is_the_ledgers(cloud: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from cluster.cli.main import main; main()", "demo", "--cloud", cloud, "--json"],
        env=os.environ | {"AIMA_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["status"] == "succeeded"
    assert (summary["instances_launched"], summary["instances_left"]) == (1, 0)
    own = summary["clouds_own_bill"]
    assert own["alive"] == 0
    assert own["billed_s"] > 5
    # From the cloud's own end to the good listing that proves it: about a second, more on a busy machine.
    assert 0 <= summary["billed_s"] - own["billed_s"] < 5
    (ledger,) = tmp_path.rglob("ledger.db")
    with closing(sqlite3.connect(ledger)) as connection:
        (transfers_usd,) = connection.execute("SELECT coalesce(sum(transfer_usd), 0) FROM launch_intents").fetchone()
    # The ledger also expects what pulling the image and sending results will cost; the fake cloud bills no transfers.
    assert summary["cost_usd"] - transfers_usd == pytest.approx(own["usd"], rel=0.15)
    assert summary["cost_usd"] > 0
