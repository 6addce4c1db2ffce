"""Who asks while a reading is under way is answered by the next one, and by nothing older."""

import asyncio
from collections.abc import Sequence

import pytest

from serve_apps.api.coalescing import Together


class Shelf:
    """What is there to read. A reading takes what is there when it begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.content = {"a": 1, "b": 2}
        self.readings: list[Sequence[str]] = []
        self.go_on = asyncio.Semaphore(0)

    async def read(self, keys: Sequence[str]) -> dict[str, int]:
        self.readings.append(keys)
        found = {key: self.content[key] for key in keys if key in self.content}
        await self.go_on.acquire()
        if "broken" in keys:
            raise OSError("broken")
        return found


async def asked(together: Together[int], *keys: str) -> list[asyncio.Task[int | None]]:
    tasks = [asyncio.create_task(together.get(key)) for key in keys]
    await asyncio.sleep(0)
    return tasks


def test_an_answer_is_never_older_than_the_question() -> None:
    async def work() -> None:
        shelf = Shelf()
        together = Together(shelf.read)
        first = await asked(together, "a")
        await asyncio.sleep(0)
        shelf.content["a"] = 10
        later = await asked(together, "a", "b", "a", "gone")
        shelf.go_on.release()
        shelf.go_on.release()
        assert await asyncio.gather(*first, *later) == [1, 10, 2, 10, None]
        assert shelf.readings == [["a"], ["a", "b", "gone"]]

    asyncio.run(work())


def test_one_who_goes_or_a_reading_that_fails_is_no_trouble_of_others() -> None:
    async def work() -> None:
        shelf = Shelf()
        together = Together(shelf.read)
        leaving, staying = await asked(together, "a", "b")
        await asyncio.sleep(0)
        failing = await asked(together, "broken", "a")
        leaving.cancel()
        for _ in range(3):
            shelf.go_on.release()
        assert await staying == 2
        for task in failing:
            with pytest.raises(OSError, match="broken"):
                await task
        assert await together.get("a") == 1

    asyncio.run(work())
