"""One run: a calm phase, the storm, the calm after it, the verdict."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.client import ApiError, Unreachable
from tests.chaos import clock_faults, cloud_faults, faults, ledger_faults, queue_faults, storage_faults
from tests.chaos.clips import tasks
from tests.chaos.faults import Kind
from tests.chaos.schedule import Strike, bearable, plan
from tests.chaos.stage import Parts, Say, Stage, staged
from tests.chaos.stream import Stream, calm
from tests.chaos.verdict import Outcome, judge_books, judge_outcome

KINDS: Mapping[str, Kind] = {
    **faults.KINDS,
    **clock_faults.KINDS,
    **queue_faults.KINDS,
    **storage_faults.KINDS,
    **ledger_faults.KINDS,
    **cloud_faults.KINDS,
}
_CALM_TIMEOUT_S, _POLL_S = 150.0, 1.0
# Nobody to strike: looked for again after this, so often.
_AGAIN_S, _TRIES = 2.0, 8


@dataclass
class Report:
    """What came of it. `faults`: how often each kind struck; `left_out`: kind -> why it could not.

    `failed_starts`: how often `aima up` had to be said again.
    """

    accepted: int = 0
    lost: int = 0
    instances_left: int = 0
    ledger_difference_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    machines: int = 0
    orphans: int = 0
    failed_starts: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


@dataclass
class _Storm:
    """The strikes of one run, side by side, each in a thread."""

    stage: Stage
    report: Report
    say: Say
    over: threading.Event = field(default_factory=threading.Event)

    def strike(self, planned: Strike) -> None:
        """Do it, keep it for its time, mend it."""
        for attempt in range(_TRIES):
            with KINDS[planned.kind].strike(self.stage, random.Random(planned.seed + attempt)) as sentence:
                if sentence:
                    self.report.faults[planned.kind] += 1
                    lasts = f", for {planned.lasts_s:.0f} s" if planned.lasts_s else ""
                    self.say(f"{planned.kind}: {sentence}{lasts}")
                    self.over.wait(planned.lasts_s)
                    return
            if self.over.wait(_AGAIN_S):
                return


def run(seed: int, minutes: float, folder: Path, say: Say, parts: Parts, settle_s: float) -> Report:
    """From the start of a cluster to its end. `settle_s`: the longest that what is open may take after the storm."""
    report = Report()
    started = time.monotonic()
    with staged(folder, say, parts) as stage:
        report.left_out = {name: why for name, kind in KINDS.items() if (why := kind.missing(stage))}
        work = tasks(folder / "clips", stage.media_uri)
        say(f"undisturbed first: {len(work)} kinds of requests")
        undisturbed = calm(stage.client, work, _CALM_TIMEOUT_S)
        report.seconds["calm"] = round(time.monotonic() - started, 1)
        stream = Stream(stage.client, work, seed)
        stream.start()
        try:
            _storm(stage, stream, report, plan_of(seed, minutes, report.left_out), minutes * 60, say)
            _settle(stage, stream, report, settle_s, say)
        finally:
            stream.stop()
        _judge(stage, stream, undisturbed, report)
        say("stopping the cluster")
    _judge_what_is_left(stage, report)
    report.seconds["total"] = round(time.monotonic() - started, 1)
    return report


def plan_of(seed: int, minutes: float, left_out: Mapping[str, str]) -> list[Strike]:
    """The strikes of this seed, of all kinds that can be."""
    habits = {name: kind.habit for name, kind in KINDS.items() if name not in left_out}
    return plan(seed, minutes * 60, bearable(seed, habits))


def _storm(stage: Stage, stream: Stream, report: Report, strikes: list[Strike], duration_s: float, say: Say) -> None:
    """Strike while the stream runs; every fault is mended when this returns."""
    began = time.monotonic()

    def tell(sentence: str) -> None:
        gone = time.monotonic() - began
        done = sum(request.over for request in stream.accepted)
        left = max(0.0, duration_s - gone)
        say(f"[{gone:4.0f} s, {left:.0f} s left; {len(stream.accepted)} accepted, {done} ended] {sentence}")

    storm = _Storm(stage, report, tell)
    with ThreadPoolExecutor(32) as pool:
        running = []
        try:
            for planned in strikes:
                time.sleep(max(0.0, began + planned.at_s - time.monotonic()))
                running.append(pool.submit(storm.strike, planned))
            time.sleep(max(0.0, began + duration_s - time.monotonic()))
        finally:
            storm.over.set()
        for strike in running:
            strike.result()
    report.seconds["storm"] = round(time.monotonic() - began, 1)


def _settle(stage: Stage, stream: Stream, report: Report, settle_s: float, say: Say) -> None:
    """Nothing is struck any more: what is open ends, and then every machine."""
    began = time.monotonic()
    stage.start_again()  # whoever runs a cluster looks at it after a storm
    stream.ask_no_more(60)
    numbers: dict[str, Callable[[], int]] = {
        "analyses": lambda: len(stream.open),
        "machines": lambda: _machines(stage),
    }
    for what, left in numbers.items():
        told = -1
        while (number := left()) and time.monotonic() - began < settle_s:
            if number != told:
                say(f"the storm is over: {number} {what} left, {settle_s - (time.monotonic() - began):.0f} s to end")
                told = number
            time.sleep(_POLL_S)
        report.seconds[f"{what} ended"] = round(time.monotonic() - began, 1)


def _machines(stage: Stage) -> int:
    """Those that the clouds bill, or that the product believes to be billed; -1 while it does not say."""
    with contextlib.suppress(ApiError, Unreachable):
        return max(len(stage.alive()), len(stage.live_instances()))
    return -1


def _judge(stage: Stage, stream: Stream, undisturbed: Mapping[str, Outcome], report: Report) -> None:
    report.violations += [f"{request.key} was never accepted" for request in stream.requests if not request.analysis_id]
    for request in stream.accepted:
        report.violations += judge_outcome(
            f"{request.analysis_id} ({request.task.name})", undisturbed[request.task.name], request.outcome
        )
    report.accepted, report.lost = len(stream.accepted), len(stream.open)
    report.states = Counter(request.outcome.state or "open" for request in stream.accepted)
    books = stage.books()
    report.machines = len(books.machines)
    report.instances_left = _machines(stage)
    if report.instances_left < 0:
        report.violations.append("the API does not say which machines are left")
    elif report.instances_left:
        report.violations.append(f"{report.instances_left} machines are left, or believed to be")
    report.ledger_difference_s, wrong = judge_books(books)
    report.violations += wrong
    if not report.instances_left and (workers := stage.workers()):
        report.violations.append(f"processes of machines that nobody bills: {sorted(workers)}")


def _judge_what_is_left(stage: Stage, report: Report) -> None:
    report.violations += stage.violations
    report.failed_starts = len(stage.failed_starts)
    orphans = list(_described(stage))
    report.orphans = len(orphans)
    report.violations += [f"a process is left: {orphan}" for orphan in orphans]


def _described(stage: Stage) -> Iterator[str]:
    for process in stage.orphans():
        yield f"{process.pid} {faults.title(process)}"
