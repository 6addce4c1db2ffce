"""Reads happen at the same time, but not too many, and come in order."""

import threading

import pytest

from pipelines.records.read_ahead import read_ahead


def test_several_are_read_at_the_same_time_and_come_in_order() -> None:
    together = threading.Barrier(3, timeout=30)

    def read(number: int) -> int:
        together.wait()
        return -number

    assert list(read_ahead(read, range(6), ahead=3)) == [0, -1, -2, -3, -4, -5]


def test_no_more_are_held_than_asked_for() -> None:
    begun: list[int] = []
    items = read_ahead(begun.append, range(10), ahead=3)
    for taken in range(1, 4):
        next(items)
        assert len(begun) <= taken + 2
    items.close()
    assert len(begun) <= 5, "who leaves early has read no more"


@pytest.mark.parametrize("names", [[], ["only"]])
def test_a_single_one_is_read_where_it_is_wanted(names: list[str]) -> None:
    assert list(read_ahead(lambda _name: threading.current_thread(), names)) == [threading.current_thread()] * len(
        names
    )


@pytest.mark.parametrize("names", [["gone"], ["there", "gone", "there"]])
def test_what_a_read_raises_is_raised_in_its_turn(names: list[str]) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_ahead(_only_there, names))


def _only_there(name: str) -> str:
    if name != "there":
        raise FileNotFoundError(name)
    return name
