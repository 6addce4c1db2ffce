"""What a measurement is, and the error rates that are its values."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One figure: `value` of `metric` over `samples` samples must be at least, or at most, `bound`."""

    analyzer: str
    metric: str
    samples: int
    value: float
    bound: float
    higher_is_better: bool = True

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.value >= self.bound if self.higher_is_better else self.value <= self.bound


def error_rate(said: Sequence[str], truth: Sequence[str]) -> float:
    """Insertions, deletions and substitutions that lead from `truth` to `said`, per item of the truth (Levenshtein)."""
    row = list(range(len(said) + 1))
    for i, wanted in enumerate(truth, start=1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(said, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != got))
    return row[-1] / len(truth)
