"""`python -m tests.benchmarks.accuracy [--json]`: how right each analyzer is, on samples whose truth is known."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.accuracy import pictures, sound


def main() -> int:
    """Print the table; 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measures = [*pictures.measures(Path(folder)), *sound.measures(Path(folder))]
    print(f"{'analyzer':<12} {'metric':<42} {'samples':>7} {'value':>7}   bound")
    for m in measures:
        sign = ">=" if m.higher_is_better else "<="
        mark = "" if m.holds else "   NOT KEPT"
        print(f"{m.analyzer:<12} {m.metric:<42} {m.samples:>7} {m.value:>7.3f}   {sign} {m.bound:g}{mark}")
    if options.json:
        print(json.dumps([asdict(m) for m in measures]))
    return 0 if all(m.holds for m in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
