"""Which tests run in which process."""

import os
from pathlib import Path

import pytest

pytest.importorskip("xdist")

from tests.support.side_by_side import CLUSTERS, LONGEST_FIRST, ONE_CLUSTER, SHARE_IT, choose, processes, together

ROOT = Path(__file__).parents[2]


def test_single_files_and_tests_run_in_one_process() -> None:
    here = str(Path(__file__).relative_to(ROOT))
    assert processes([here], ROOT) == processes([f"{here}::test_x"], ROOT) == processes(["tests/unit", here], ROOT) == 0


def test_whole_folders_run_in_as_many_as_there_are_cores_and_clusters_in_one_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert processes(["tests/unit"], ROOT) == 2
    assert processes(["tests"], ROOT) == processes(["tests/unit", "tests/integration"], ROOT) == 3


def test_what_shares_a_cluster_stays_together() -> None:
    (first, *others) = [f"{file}::test_x[a::b]" for file in sorted(SHARE_IT)]
    assert {together(test) for test in (first, *others)} == {ONE_CLUSTER}
    assert together("tests/unit/test_x.py::TestY::test_z") == "tests/unit/test_x.py"


def test_two_processes_begin_with_clusters_and_the_others_end_with_them() -> None:
    waiting = ["tests/unit/a.py", "tests/linters/test_linters.py", f"{CLUSTERS}test_a.py", ONE_CLUSTER]
    assert [choose(waiting, name) for name in ("gw0", "gw1")] == [ONE_CLUSTER] * 2
    assert choose(waiting, "gw2") == "tests/linters/test_linters.py"
    assert choose(waiting[:1] + waiting[2:], "gw2") == "tests/unit/a.py"
    assert choose(waiting[2:], "gw2") == ONE_CLUSTER
    assert choose(waiting[:2], "gw0") == "tests/linters/test_linters.py"


def test_the_files_that_are_named_exist() -> None:
    assert [file for file in {*SHARE_IT, *LONGEST_FIRST} if not (ROOT / file).exists()] == []
