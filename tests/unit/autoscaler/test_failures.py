"""The table of failures tells nothing that no test holds, and every failure on command is in it."""

import re
from pathlib import Path

from autoscaler.fakes.failures import RUNPOD_FAILURES, VASTAI_FAILURES

ROOT = Path(__file__).parents[3]
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
ROWS = re.findall(
    r"^\| ([AFMVW]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "autoscaler/FAILURES.md").read_text(), re.M
)


def test_every_row_names_tests_that_exist() -> None:
    assert len(ROWS) > 25
    for number, _what, _answer, tests in ROWS:
        names = re.findall(r"`(test_\w+)`", tests)
        assert names, number
        for name in names:
            assert f"def {name}(" in TESTS, f"{number}: {name}"


def test_every_failure_on_command_has_a_row() -> None:
    numbers = {number for number, *_rest in ROWS}
    known = {name.split("-")[0] for name in (*RUNPOD_FAILURES, *VASTAI_FAILURES)}
    assert known - numbers <= {"F18"}  # the worker's own business


def test_every_test_of_a_field_failure_stands_in_the_table() -> None:
    named = " ".join(tests for *_rest, tests in ROWS)
    files = ("test_field_failures.py", "test_odd_answers.py")
    text = "\n".join((ROOT / "tests/contract/clouds" / name).read_text() for name in files)
    for name in re.findall(r"^def (test_\w+)\(", text, re.M):
        assert f"`{name}`" in named, name
