"""Threads that keys share: no key has all of them, and keys that wait take turns."""

import asyncio
import threading
from functools import partial

import pytest

from serve_apps.work.fair_pool import FairPool


def test_no_key_has_all_threads() -> None:
    gate, began = threading.Event(), list[str]()

    def work(name: str) -> str:
        began.append(name)
        assert gate.wait(20)
        return name

    async def run() -> list[str]:
        pool = FairPool(4, 3, "test")
        greedy = [asyncio.create_task(pool.run("greedy", partial(work, f"greedy {n}"))) for n in range(8)]
        await asyncio.sleep(0)
        modest = [asyncio.create_task(pool.run("modest", partial(work, f"modest {n}"))) for n in range(3)]
        async with asyncio.timeout(20):
            while len(began) < 4:
                await asyncio.sleep(0.001)
            assert (sorted(began), pool.busy) == (["greedy 0", "greedy 1", "greedy 2", "modest 0"], 4)
            gate.set()
            return [*await asyncio.gather(*greedy), *await asyncio.gather(*modest)]

    assert len(asyncio.run(run())) == 11


def test_keys_take_turns() -> None:
    """With a single thread the order is the pool's alone."""
    gate, began = threading.Event(), list[str]()

    def work(name: str) -> None:
        began.append(name)
        assert gate.wait(20)

    async def run() -> None:
        pool = FairPool(1, 1, "test")
        greedy = [asyncio.create_task(pool.run("greedy", partial(work, f"greedy {n}"))) for n in range(5)]
        await asyncio.sleep(0)
        modest = [asyncio.create_task(pool.run("modest", partial(work, f"modest {n}"))) for n in range(2)]
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*greedy, *modest)

    asyncio.run(run())
    assert began == ["greedy 0", "greedy 1", "modest 0", "greedy 2", "modest 1", "greedy 3", "greedy 4"]


def test_who_has_gone_takes_no_turn_and_holds_none() -> None:
    gate = threading.Event()

    async def run() -> str:
        pool = FairPool(1, 1, "test")
        running = asyncio.create_task(pool.run("a", lambda: gate.wait(20)))
        waiting = asyncio.create_task(pool.run("b", lambda: True))
        await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        last = asyncio.create_task(pool.run("c", lambda: "done"))
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert not last.done()  # the thread of the cancelled one is still at work
        gate.set()
        async with asyncio.timeout(20):
            return await last

    assert asyncio.run(run()) == "done"


def test_what_goes_wrong_is_the_askers() -> None:
    async def run() -> None:
        pool = FairPool(1, 1, "test")
        with pytest.raises(ZeroDivisionError):
            await pool.run("a", lambda: 1 // 0)
        assert await pool.run("a", lambda: 1) == 1

    asyncio.run(run())
