"""Random fault schedules in bulk: `python -m tests.simulation.schedules --count 10000 [--seed N] [--json]`.

Each plays demand, faults, breakdowns and restarts on the real reconciler, then checks that every request was served,
that nothing is left billed or missing from the ledger, and that no moment was over budget or had two machines for one
launch.
"""

import argparse
import json
import logging
import sys
from multiprocessing import get_context

from rich.console import Console
from rich.progress import track

from tests.simulation.random_faults import play


def main() -> int:
    """Play them on all cores; exit code 1 when one breaks a rule, with its seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    # Not ProcessPoolExecutor: with max_tasks_per_child it can stand still (https://github.com/python/cpython/issues/115634).
    with get_context("spawn").Pool(options.processes, maxtasksperchild=20) as pool:
        done = pool.imap(_outcome, seeds, chunksize=20)
        outcomes = list(track(done, "schedules", total=options.count, console=Console(stderr=True)))
    failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
    report = {
        "schedules": options.count,
        "failed": len(failures),
        "machines_bought": sum(outcome for outcome in outcomes if isinstance(outcome, int)),
    }
    for failure in failures[:5]:
        print(failure, file=sys.stderr)
    told = "{schedules} schedules, {failed} failed, {machines_bought} machines bought and given back"
    print(json.dumps(report) if options.json else told.format(**report))
    return 1 if failures else 0


def _outcome(seed: int) -> int | str:
    """How many machines were bought, or what broke."""
    logging.disable(logging.CRITICAL)
    try:
        cluster = play(seed)
    except AssertionError as error:
        return f"seed {seed}: {error}"
    return sum(cloud.created for cloud in cluster.clouds.values())


if __name__ == "__main__":
    sys.exit(main())
