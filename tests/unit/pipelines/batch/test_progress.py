"""Who waits is told how long, and who does not is told nothing."""

from itertools import count

import pytest

from pipelines.batch.progress import told


@pytest.mark.parametrize(
    ("step_s", "lines"),
    [(2.0, ["3/6 headers read, about 6 s left", "6/6 headers read, about 0 s left"]), (0.1, [])],
)
def test_a_line_every_few_seconds(step_s: float, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    times = (step_s * number for number in count())
    assert list(told("abcdef", 6, "headers read", clock=lambda: next(times))) == list("abcdef")
    assert capsys.readouterr().out.splitlines() == lines
