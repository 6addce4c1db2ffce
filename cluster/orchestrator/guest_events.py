"""Events that guests cause: few per guest and in all, each one printable line; the rest is counted.

A guest is whoever dials the overlay's port: a machine of ours or a stranger. It chooses how often it is refused and
part of the text, so both are bounded before anything is written.
"""

from collections.abc import Callable

from autoscaler.records.sentences import printable

WINDOW_S = 60.0
# In each window: enough to see what a guest is up to, too few to push other events out of the ledger within hours.
PER_SUBJECT, IN_ALL = 10, 20
_MAX_BYTES = 300


class GuestEvents:
    """Counts per subject in windows of WINDOW_S. What was left out of a window is told in one sentence at its end."""

    def __init__(self, write: Callable[[str, str], None], clock: Callable[[], float]) -> None:
        self._write, self._clock = write, clock
        self._since = clock()
        self._told: dict[str, int] = {}
        self._said: set[tuple[str, str]] = set()
        self._left_out = 0

    def tell(self, subject: str, sentence: str) -> None:
        """Write it, unless this subject or all of them have said enough or the same. `subject` is one of ours."""
        before = self._next_window()
        sentence = printable(sentence, _MAX_BYTES)
        told = self._told.get(subject, 0)
        if (subject, sentence) in self._said or told >= PER_SUBJECT or len(self._said) >= IN_ALL:
            self._left_out += 1
            return
        self._told[subject] = told + 1
        self._said.add((subject, sentence))
        self._write(subject, f"{sentence} ({before})" if before else sentence)

    def turn(self) -> None:
        """Say what was left out, once the window is over; the next one begins."""
        if before := self._next_window():
            self._write("overlay", before)

    def _next_window(self) -> str:
        """What was left out of the window, if that is over; else nothing."""
        now = self._clock()
        if now - self._since < WINDOW_S:
            return ""
        left_out, self._left_out, self._since = self._left_out, 0, now
        self._told.clear()
        self._said.clear()
        return f"{left_out} more events of guests within {WINDOW_S:.0f} s were not written" if left_out else ""
