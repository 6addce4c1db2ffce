"""Arrivals of work over days, as CSV: `at_s` since the start, `work_s` of one GPU. Three are shipped.

office-hours: a week, busy from 8 to 18 h on five days. bursty: three days of quiet with bursts. steady: two days of
about one request a minute. They are synthetic and made by tests/simulation/make_traces.py.
"""

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

SHIPPED = ("office-hours", "bursty", "steady")


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes, in seconds since the start, and how many seconds of one GPU it needs."""

    at_s: float
    work_s: float


class TraceError(ValueError):
    """The trace cannot be read; the message says where."""


def read_trace(name: str) -> list[Arrival]:
    """A shipped trace by its name, or a CSV file with the columns at_s and work_s. Raises TraceError."""
    if name in SHIPPED:
        return parse((resources.files(__package__) / f"{name}.csv").read_text(encoding="utf-8"), name)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        shipped = ", ".join(SHIPPED)
        raise TraceError(f"{name}: {error.strerror}; give a CSV file or one of: {shipped}") from None
    return parse(text, name)


def parse(text: str, name: str) -> list[Arrival]:
    """Arrivals in their order of time. Raises TraceError naming the line."""
    rows = csv.DictReader(text.splitlines())
    if not {"at_s", "work_s"} <= set(rows.fieldnames or ()):
        raise TraceError(f"{name}: line 1: the columns at_s and work_s are needed, got {rows.fieldnames}")
    arrivals = []
    for line, row in enumerate(rows, start=2):
        try:
            arrival = Arrival(float(row["at_s"]), float(row["work_s"]))
        except (TypeError, ValueError):
            raise TraceError(f"{name}: line {line}: at_s and work_s must be numbers, got {row}") from None
        if not (0 <= arrival.at_s < 10**9 and 0 < arrival.work_s < 10**6):
            raise TraceError(f"{name}: line {line}: at_s must be at least 0 and work_s above 0, got {row}")
        arrivals.append(arrival)
    if not arrivals:
        raise TraceError(f"{name}: no arrival in it")
    return sorted(arrivals, key=lambda arrival: arrival.at_s)
