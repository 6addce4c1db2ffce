"""What chaos calls a violation, and what it does not."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chaos.verdict import Blind, Books, Entry, Machine, Outcome, judge_books, judge_outcome

CALM = Outcome("succeeded", "", {"labels": [{"frame": 1, "labels": [{"label": "cab", "score": 0.5}]}, {"frame": 2}]})
TWICE: list[Mapping[str, Any]] = [*CALM.rows["labels"], *CALM.rows["labels"]]
DAMAGED = Outcome("failed", "clip.mp4: it is no video")


@pytest.mark.parametrize(
    ("calm", "found", "said"),
    [
        (CALM, CALM, None),
        (DAMAGED, DAMAGED, None),
        (CALM, Outcome(None, "running"), "has not ended"),
        (CALM, Outcome("failed", "OSError: no space"), "ended as failed (OSError: no space), undisturbed as succeeded"),
        (DAMAGED, Outcome("failed", "ActorDiedError"), "undisturbed with 'clip.mp4: it is no video'"),
        (CALM, Outcome("succeeded", "", {"labels": CALM.rows["labels"][:1]}), "1 rows of labels, undisturbed 2"),
        (CALM, Outcome("succeeded", "", {}), "0 rows of labels, undisturbed 2"),
        (CALM, Outcome("succeeded", "", {"labels": TWICE}), "4 rows of labels, undisturbed 2"),
    ],
)
def test_an_analysis_ends_as_it_does_undisturbed(calm: Outcome, found: Outcome, said: str | None) -> None:
    wrong = judge_outcome("an_1", calm, found)
    assert len(wrong) == (said is not None)
    assert said is None or said in wrong[0]


@pytest.mark.parametrize(("score", "alike"), [(0.5 + 1e-6, True), (0.6, False), (None, False)])
def test_numbers_may_differ_by_rounding_only(score: float | None, alike: bool) -> None:
    rows: list[Mapping[str, Any]] = [{"frame": 1, "labels": [{"label": "cab", "score": score}]}, {"frame": 2}]
    assert (judge_outcome("an_1", CALM, Outcome("succeeded", "", {"labels": rows})) == []) is alike


def books(
    billed: tuple[float, float | None],
    entries: list[tuple[float, float]],
    lists: list[float],
    blind: list[Blind] | None = None,
    sold_at: float | None = None,
) -> Books:
    machine = Machine("runpod", "m", *billed)
    kept = [Entry("runpod", "m", *entry, billed[0] if sold_at is None else sold_at) for entry in entries]
    return Books([machine], kept, {"runpod": lists}, blind or [], 1000.0)


EVERY_5_S = [100.0 + 5 * n for n in range(100)]


@pytest.mark.parametrize(
    ("case", "difference_s"),
    [
        (books((100, 160), [(100, 160)], EVERY_5_S), 0.0),
        (books((100, 161), [(100, 166)], EVERY_5_S), 1.0),  # the list of 165 proved it
        (books((100, 160), [(100, 130), (130, 160)], EVERY_5_S), 0.0),  # one that nobody claims goes on where it ended
        (books((100, 161), [(100, 200)], [100, 150, 199]), 1.0),  # no list before 199
        (books((100.5, 101), [(100.5, 141)], EVERY_5_S), 1.0),  # no list ever showed it: it may come late
        (books((100, 161), [(100, 196)], EVERY_5_S, [Blind(158, 193)]), 1.0),  # nobody read the lists until 193
        # Nobody knew of the sale before 120, and no list had shown it.
        (books((100.5, 101), [(100.5, 161)], EVERY_5_S, sold_at=120), 1.0),
        # Started anew at 158, the orchestrator has never seen it.
        (books((130, 159), [(130, 171)], EVERY_5_S, [Blind(150, 158, forgets=True)]), 1.0),
    ],
)
def test_the_ledger_ends_with_the_first_list_that_proves_it(case: Books, difference_s: float) -> None:
    found, wrong = judge_books(case)
    assert wrong == []
    assert found == pytest.approx(difference_s)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (books((100, None), [(100, 160)], EVERY_5_S), "still bills m"),
        (books((100, 160), [], EVERY_5_S), "which is not in the ledger"),
        (books((100, 160), [(100, 150)], EVERY_5_S), "-10.0 s that no list explains"),
        (books((100, 160), [(100, 180)], EVERY_5_S), "+20.0 s that no list explains"),
        (books((100, 160), [(100, 161.1)], EVERY_5_S), "+1.1 s that no list explains"),
        (books((100, 160), [(100, 160), (100, 160)], EVERY_5_S), "+60.0 s"),
    ],
)
def test_what_no_list_explains_is_told(case: Books, said: str) -> None:
    _found, wrong = judge_books(case)
    assert len(wrong) == 1
    assert said in wrong[0]
