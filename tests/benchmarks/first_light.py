"""How long the first story takes: `python -m tests.benchmarks.first_light [--runs N] [--json]`.

Per run: POST at zero -> the worker's first frame; a second request on the warm worker -> its first frame; the last
result -> the orchestrator's decision to terminate (and the machine's confirmed end), with the idle limit of 5 s.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster.client import Client
from cluster.config.schema import HttpSettings, ScalingSettings, Settings
from cluster.config.state_directory import StateDir
from cluster.local import embedded
from cluster.local.demo import live_instances
from pipelines.media.sample_video import sample_video
from tests.waiting import wait_until

GOALS_S = {"post_to_first_frame": 12.0, "warm_to_first_frame": 0.3, "last_result_to_terminate": 10.0}


def main() -> None:
    """Run on one cluster, print medians against the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            state_dir=Path(directory), http=HttpSettings(port=0), scaling=ScalingSettings(idle_limit_s=5)
        ).resolved()
        state = StateDir(settings.state_dir)
        card = embedded.up(settings)
        try:
            with Client(card.api_url, state.token("api")) as client:
                runs = [_run(client, number) for number in range(options.runs)]
        finally:
            embedded.down(state)
    report = {key: _spread([run[key] for run in runs]) for key in runs[0]}
    for key, spread in report.items():
        goal = f"goal {GOALS_S[key]:5.1f} s" if key in GOALS_S else ""
        print(f"{key:28} median {spread['median']:6.2f} s  ({spread['min']:.2f}-{spread['max']:.2f})  {goal}")
    if options.json:
        print(json.dumps(report))


def _run(client: Client, number: int) -> dict[str, float]:
    cold = _analyse(client)
    warm = _analyse(client)
    finished = time.time()
    ending = wait_until("the worker is given up", lambda: _ending_at(client), 60, 0.02)
    wait_until("the worker is gone", lambda: not live_instances(client.instances()), 60, 0.05)
    gone = time.time()
    print(f"run {number + 1}: first frame after {cold:.2f} s, warm {warm:.2f} s", flush=True)
    return {
        "post_to_first_frame": cold,
        "warm_to_first_frame": warm,
        "last_result_to_terminate": ending - finished,
        "last_result_to_gone": gone - finished,
    }


def _analyse(client: Client) -> float:
    submitted = client.submit([str(sample_video())], ["labels"])
    analysis = list(client.follow(submitted["id"], every_s=0.05))[-1]
    if analysis["state"] != "succeeded":
        raise SystemExit(f"the analysis failed: {analysis['error']}")
    return float(analysis["seconds"]["to_first_frame"])


def _ending_at(client: Client) -> float:
    instances: list[dict[str, Any]] = client.instances()["instances"]
    if all(instance["state"] in ("ending", "ended", "failed") for instance in instances):
        return time.time()
    return 0.0


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


if __name__ == "__main__":
    main()
