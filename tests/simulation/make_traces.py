"""Makes the shipped traces of arrivals anew: `python -m tests.simulation.make_traces [DIRECTORY]`."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

HOUR_S, DAY_S = 3600.0, 86400.0


def office_hours(dice: random.Random) -> Iterator[tuple[float, float]]:
    """A week: on five days, about 15 requests an hour from 8 to 18 h, half as many at noon."""
    for day in range(5):
        at = day * DAY_S + 8 * HOUR_S
        while (at := at + dice.expovariate(15 / HOUR_S)) < day * DAY_S + 18 * HOUR_S:
            hour = (at % DAY_S) / HOUR_S
            if not 12 <= hour < 13 or dice.random() < 0.5:
                yield at, dice.lognormvariate(3.7, 0.8)


def bursty(dice: random.Random) -> Iterator[tuple[float, float]]:
    """Three days: every three hours on average, 5 to 40 requests within some minutes."""
    at = 0.0
    while (at := at + dice.expovariate(1 / (3 * HOUR_S))) < 3 * DAY_S:
        for _ in range(dice.randrange(5, 41)):
            yield at + dice.expovariate(1 / 120.0), dice.lognormvariate(3.7, 0.8)


def steady(dice: random.Random) -> Iterator[tuple[float, float]]:
    """Two days: about one request a minute."""
    at = 0.0
    while (at := at + dice.expovariate(1 / 60.0)) < 2 * DAY_S:
        yield at, dice.lognormvariate(3.2, 0.6)


def as_csv(arrivals: Iterator[tuple[float, float]]) -> str:
    rows = [f"{at:.1f},{work:.1f}\n" for at, work in sorted(arrivals)]
    return "at_s,work_s\n" + "".join(rows)


TRACES = {"office-hours": office_hours, "bursty": bursty, "steady": steady}


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "autoscaler/simulation")
    for name, make in TRACES.items():
        (directory / f"{name}.csv").write_text(as_csv(make(random.Random(name))), encoding="utf-8")


if __name__ == "__main__":
    main()
