"""Many readers, one reading: who asks while a reading is under way is answered by the next one, with all who wait.

Everybody's answer was read after they asked, so nobody misses what they have just done themselves; and a thousand who
ask at once cost a few queries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST_KEYS = 500


class Together(Generic[T]):
    """Reads by key. `read` is given different keys and answers those that exist. For one event loop."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]]) -> None:
        self._read = read
        self._waiting: list[tuple[str, asyncio.Future[T | None]]] = []
        self._work: asyncio.Task[None] | None = None

    async def get(self, key: str) -> T | None:
        """What is there now, None if nothing. Raises what `read` raises."""
        answer: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._work is None:
            self._work = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:_MOST_KEYS], self._waiting[_MOST_KEYS:]
                await self._answer(asked)
        finally:
            self._work = None

    async def _answer(self, asked: Sequence[tuple[str, "asyncio.Future[T | None]"]]) -> None:
        found: Mapping[str, T] = {}
        trouble: Exception | None = None
        try:
            found = await self._read(list(dict.fromkeys(key for key, _ in asked)))
        except Exception as error:  # it is theirs who asked
            trouble = error
        for key, answer in asked:
            if answer.done():  # whoever asked has gone
                continue
            if trouble is None:
                answer.set_result(found.get(key))
            else:
                answer.set_exception(trouble)
