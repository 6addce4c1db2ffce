"""Whatever guests do, few events are written, and what was left out is counted."""

import pytest

from cluster.orchestrator.guest_events import IN_ALL, PER_SUBJECT, WINDOW_S, GuestEvents


class Written:
    """What was written, and a clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[tuple[str, str]] = []
        self.events = GuestEvents(lambda subject, sentence: self.lines.append((subject, sentence)), lambda: self.now)


@pytest.fixture
def written() -> Written:
    return Written()


def test_one_guest_that_varies_its_text_writes_few_events(written: Written) -> None:
    for attempt in range(50_000):
        written.events.tell("a", f"it may not connect to host-{attempt}-{'x' * 200}:1")
    assert len(written.lines) == PER_SUBJECT


def test_many_guests_together_write_few_events_and_leave_room_for_no_flood(written: Written) -> None:
    for guest in range(500):
        for attempt in range(5):
            written.events.tell(f"guest-{guest}", f"attempt {attempt}")
    assert len(written.lines) == IN_ALL


def test_what_was_left_out_is_counted_once_the_window_is_over(written: Written) -> None:
    for _ in range(100):
        written.events.tell("a", "the same again")
    assert written.lines == [("a", "the same again")]
    written.events.turn()
    assert len(written.lines) == 1
    written.now += WINDOW_S
    written.events.turn()
    written.events.turn()
    assert written.lines[1:] == [("overlay", "99 more events of guests within 60 s were not written")]
    written.events.tell("a", "the same again")
    assert len(written.lines) == 3


def test_a_guest_writes_one_short_line(written: Written) -> None:
    written.events.tell("a", "it may not connect to x\n2026 error aima: forged \x1b[2J" + "y" * 10_000)
    ((_, sentence),) = written.lines
    assert sentence.isprintable()
    assert len(sentence.encode()) <= 300
