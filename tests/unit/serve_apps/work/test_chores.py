"""Chores come round often while something goes on, and rarely while nothing does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serve_apps.monitoring.measures import Measures
from serve_apps.work.chores import Chore, run_chores


def step_counter(
    stop_after: int, stop: asyncio.Event, found: int = 0
) -> tuple[list[float], Callable[[], Awaitable[int]]]:
    """A step that notes its time and ends everything with its last call."""
    times: list[float] = []

    async def step() -> int:
        times.append(asyncio.get_running_loop().time())
        if len(times) == stop_after:
            stop.set()
        return found

    return times, step


@pytest.mark.parametrize(("is_quiet", "least_s", "most_s"), [(False, 0.0, 0.5), (True, 0.6, 30.0)])
def test_it_rests_longer_while_nothing_goes_on(is_quiet: bool, least_s: float, most_s: float) -> None:
    async def run() -> float:
        stop = asyncio.Event()
        times, step = step_counter(2, stop)
        await run_chores({"one": Chore(step, 0.01, quiet_s=0.6)}, stop, Measures(), lambda: is_quiet)
        return times[1] - times[0]

    assert least_s <= asyncio.run(run()) < most_s


def test_a_long_rest_ends_as_soon_as_something_goes_on() -> None:
    async def run() -> int:
        stop = asyncio.Event()
        times, step = step_counter(2, stop)
        looks = iter([True, True, False])
        await asyncio.wait_for(
            run_chores({"one": Chore(step, 0.001, quiet_s=3600.0)}, stop, Measures(), lambda: next(looks, False)), 30
        )
        return len(times)

    assert asyncio.run(run()) == 2


def test_it_does_not_rest_while_it_finds_work() -> None:
    async def run() -> int:
        stop = asyncio.Event()
        times, step = step_counter(5, stop, found=1)
        await asyncio.wait_for(run_chores({"one": Chore(step, 3600.0)}, stop, Measures()), 30)
        return len(times)

    assert asyncio.run(run()) == 5
