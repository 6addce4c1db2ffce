"""Which tests run in which process."""

import os
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("xdist")

from tests.support.side_by_side import (
    CLUSTERS,
    LONGEST_FIRST,
    ONE_CLUSTER,
    SHARE_IT,
    SideBySide,
    choose,
    processes,
    together,
)

ROOT = Path(__file__).parents[2]


def test_single_files_and_tests_run_in_one_process() -> None:
    here = str(Path(__file__).relative_to(ROOT))
    assert processes([here], ROOT) == processes([f"{here}::test_x"], ROOT) == processes(["tests/unit", here], ROOT) == 0


def test_whole_folders_run_in_as_many_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert processes(["tests/unit"], ROOT) == processes(["tests"], ROOT) == 2
    assert processes(["tests/integration", "tests/browser"], ROOT) == 0


def test_what_shares_a_cluster_stays_together() -> None:
    (first, *others) = [f"{file}::test_x[a::b]" for file in sorted(SHARE_IT)]
    assert {together(test) for test in (first, *others)} == {ONE_CLUSTER}
    assert together("tests/unit/test_x.py::TestY::test_z") == "tests/unit/test_x.py"


def test_one_process_begins_with_clusters_and_the_others_with_everything_else() -> None:
    waiting = ["tests/unit/a.py", "tests/linters/test_linters.py", f"{CLUSTERS}test_a.py", ONE_CLUSTER]
    assert choose(waiting, "gw0") == ONE_CLUSTER
    assert choose([*waiting[:3], "tests/browser/b.py"], "gw0") == f"{CLUSTERS}test_a.py"
    assert choose(waiting, "gw1") == "tests/linters/test_linters.py"
    assert choose(waiting[:1] + waiting[2:], "gw1") == "tests/unit/a.py"
    assert choose(waiting[:2], "gw0") == "tests/linters/test_linters.py"


class Process:
    """A process of a run, as the scheduler sees it."""

    def __init__(self, name: str) -> None:
        self.gateway, self.shutting_down, self.given = SimpleNamespace(id=name), False, list[int]()

    def shutdown(self) -> None:
        self.shutting_down = True

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices


def test_no_other_process_starts_a_cluster() -> None:
    schedule = object.__new__(SideBySide)
    schedule.log = lambda *_words: None
    first, other = Process("gw0"), Process("gw1")
    schedule.workqueue = OrderedDict({ONE_CLUSTER: {f"{ONE_CLUSTER}::test_x": False}})
    schedule.assigned_work = {first: {}, other: {}}
    schedule.registered_collections = {key: [f"{ONE_CLUSTER}::test_x"] for key in (first, other)}
    schedule._reschedule(other)
    assert (other.shutting_down, other.given) == (True, [])
    schedule._reschedule(first)
    assert (first.shutting_down, first.given) == (False, [0])


def test_the_files_that_are_named_exist() -> None:
    assert [file for file in {*SHARE_IT, *LONGEST_FIRST} if not (ROOT / file).exists()] == []
