"""What is to be true afterwards. Pure: everything seen comes in as values, violations go out as sentences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A good list takes a moment to be read and written down, and a clock that follows a wrong one is a little off.
SLACK_S = 1.0
# How late a cloud may list what it has sold (cluster/orchestrator/cloud_factory.py): an unseen machine stays on the
# bill for so long.
LIST_LAG_S = 30.0
_TOLERANCE = 1e-3
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Outcome:
    """How an analysis ended: its state (None: it has not, or nobody knows it), its error, its rows by analyzer."""

    state: str | None
    error: str = ""
    rows: Rows = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """One line of a cloud's own bill. Unix seconds; `ended_at` None: it lives."""

    cloud: str
    machine_id: str
    created_at: float
    ended_at: float | None


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. Unix seconds; `bought_at` None: never billed. `sold_at`: when the sale was known."""

    cloud: str
    machine_id: str
    bought_at: float | None
    ended_at: float | None
    sold_at: float


@dataclass(frozen=True)
class Blind:
    """When the orchestrator could see or write nothing, in unix seconds. `forgets`: it has started anew since."""

    began: float
    ended: float
    forgets: bool = False


def judge_outcome(name: str, calm: Outcome, found: Outcome) -> list[str]:
    """What is wrong with an analysis that ended so undisturbed (`calm`), and so in the chaos."""
    if found.state is None:
        return [f"{name} was accepted and has not ended: {found.error}"]
    if found.state != calm.state:
        told = f" ({found.error})" if found.error else ""
        return [f"{name} ended as {found.state}{told}, undisturbed as {calm.state}"]
    if found.state == "failed" and found.error != calm.error:
        return [f"{name} failed with {found.error!r}, undisturbed with {calm.error!r}"]
    return [f"{name}: {difference}" for difference in rows_differ(calm.rows, found.rows)]


def rows_differ(calm: Rows, found: Rows) -> list[str]:
    """The first difference of each analyzer. Numbers may differ by rounding: batches are added up in another order."""
    differences = []
    for analyzer in sorted({*calm, *found}):
        wanted, got = calm.get(analyzer, ()), found.get(analyzer, ())
        if len(wanted) != len(got):
            differences.append(f"{len(got)} rows of {analyzer}, undisturbed {len(wanted)}")
            continue
        pairs = zip(wanted, got, strict=True)
        first = next((i for i, (one, other) in enumerate(pairs) if not _alike(one, other)), None)
        if first is not None:
            differences.append(f"row {first} of {analyzer} is {got[first]}, undisturbed {wanted[first]}")
    return differences


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)


@dataclass(frozen=True)
class Books:
    """What clouds billed and what the ledger says. `good_lists`: cloud -> when it told the truth (unix seconds)."""

    machines: Sequence[Machine]
    entries: Sequence[Entry]
    good_lists: Mapping[str, Sequence[float]]
    blind: Sequence[Blind]
    now: float


def judge_books(books: Books) -> tuple[float, list[str]]:
    """The largest difference in seconds that nothing explains, and what is wrong.

    The ledger keeps a machine on the bill until a good list proves its end: it may be longer than the cloud's own
    bill by the time to that list, never shorter, and never longer than that.
    """
    worst, wrong = 0.0, []
    for machine in books.machines:
        if machine.ended_at is None:
            wrong.append(f"{machine.cloud} still bills {machine.machine_id}")
            continue
        entries = [e for e in books.entries if (e.cloud, e.machine_id) == (machine.cloud, machine.machine_id)]
        if not entries:
            wrong.append(f"{machine.cloud} billed {machine.machine_id}, which is not in the ledger")
            continue
        difference_s = _unexplained_s(books, machine, machine.ended_at, entries)
        worst = max(worst, abs(difference_s))
        if abs(difference_s) > SLACK_S:
            known = machine.ended_at - machine.created_at
            wrong.append(
                f"{machine.cloud} billed {machine.machine_id} for {known:.1f} s, the ledger for"
                f" {_billed_s(books, entries):.1f} s: {difference_s:+.1f} s that no list explains"
            )
    return round(worst, 3), wrong


def _billed_s(books: Books, entries: Iterable[Entry]) -> float:
    return sum((e.ended_at or books.now) - e.bought_at for e in entries if e.bought_at is not None)


def _unexplained_s(books: Books, machine: Machine, ended_at: float, entries: Sequence[Entry]) -> float:
    """Seconds by which the ledger bills less than the cloud (negative), or more than until the proof of the end."""
    difference_s = _billed_s(books, entries) - (ended_at - machine.created_at)
    if difference_s <= 0:
        return difference_s
    proof_at = _proof_at(books, machine, ended_at, max(e.sold_at for e in entries))
    return max(0.0, difference_s - (proof_at - ended_at))


def _proof_at(books: Books, machine: Machine, ended_at: float, sold_at: float) -> float:
    """The first good list after the end that the orchestrator could see and may believe.

    What no list has shown is asked for its end first: the list after that one proves it.
    """
    since = max((b.ended for b in books.blind if b.forgets and b.began <= ended_at), default=float("-inf"))
    lists = [at for at in books.good_lists.get(machine.cloud, ()) if not _is_blind(books.blind, at)]
    seen = any(max(machine.created_at, since) <= at < ended_at for at in lists)
    believed_from = ended_at if seen else sold_at + LIST_LAG_S + SLACK_S
    proofs = sorted(at for at in lists if at >= max(ended_at, believed_from))[0 if seen else 1 :]
    return proofs[0] if proofs else books.now


def _is_blind(blind: Iterable[Blind], at: float) -> bool:
    return any(b.began - SLACK_S <= at <= b.ended for b in blind)
