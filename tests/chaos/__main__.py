"""Chaos: `python -m tests.chaos --minutes 2 --seed 1 [--database sqlite|postgresql] [--storage directory|s3]`.

The whole product on a fake RunPod and a fake Vast.ai, whose machines are real Ray nodes behind the overlay, analyses
real clips while machines, links, clouds, processes, clocks, the queue, the database and the storage fail at random.
Afterwards every accepted analysis has ended as it does undisturbed, with the same rows; the ledger is the clouds' own
bill; nothing runs, and nothing is billed. Exit code 1 and a sentence for everything that is not so.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import Report, run
from tests.chaos.stage import Parts


def main() -> int:
    """Run, tell, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="how long faults strike; starting and ending come on top"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--storage", choices=["directory", "s3"], default="directory")
    parser.add_argument(
        "--settle-s", type=float, default=420.0, help="the longest that what is open may take afterwards"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")
    options = parser.parse_args()
    started = time.monotonic()

    def say(sentence: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {sentence}", file=sys.stderr, flush=True)

    folder = Path(tempfile.mkdtemp(prefix="aima-chaos-"))
    parts = Parts(postgres=options.database == "postgresql", s3=options.storage == "s3")
    report = run(options.seed, options.minutes, folder, say, parts, options.settle_s)
    for violation in report.violations:
        print(f"VIOLATION: {violation}", file=sys.stderr)
    print(json.dumps(report.to_json()) if options.json else _told(report))
    if report.violations:
        print(f"the logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _told(report: Report) -> str:
    lines = [f"{name} struck {count} times" for name, count in sorted(report.faults.items())]
    lines += [f"{name} was left out: {why}" for name, why in sorted(report.left_out.items())]
    lines.append(
        f"{report.accepted} accepted, {report.lost} lost, {report.machines} machines, {report.instances_left} left, the"
        f" ledger differs by {report.ledger_difference_s:.1f} s, {len(report.violations)} violations"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
