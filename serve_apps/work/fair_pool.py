"""Threads of its own for work that may take long, shared fairly between those who ask for it.

The threads that wait for the database are never among them: a stranger's slow server holds up nobody but its own key.
"""

import asyncio
import contextvars
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class FairPool:
    """So many threads. A key has at most `per_key` of them, and keys that wait take turns. For one event loop."""

    def __init__(self, threads: int, per_key: int, name: str) -> None:
        self._threads, self._per_key = threads, per_key
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def busy(self) -> int:
        """How many threads are at work."""
        return self._running.total()

    async def run(self, key: str, work: Callable[[], T]) -> T:
        """What `work` answers or raises, done in one of the threads when it is the key's turn.

        Who is cancelled while it runs leaves the thread occupied until it is done.
        """
        await self._turn(key)
        loop = asyncio.get_running_loop()
        done = self._pool.submit(contextvars.copy_context().run, work)  # its log lines say what they are about

        def ended(_future: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._leave, key)

        done.add_done_callback(ended)
        return await asyncio.wrap_future(done)

    async def _turn(self, key: str) -> None:
        if self._is_free(key) and not self._waiting.get(key):
            self._running[key] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(key)
            raise

    def _is_free(self, key: str) -> bool:
        return self._running.total() < self._threads and self._running[key] < self._per_key

    def _leave(self, key: str) -> None:
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        for waiting in list(self._waiting):
            if self._is_free(waiting):
                self._give_turn(waiting)

    def _give_turn(self, key: str) -> None:
        """The key's next one may begin; the others of the key go to the end of the line."""
        turns = self._waiting.pop(key)
        while turns:
            turn = turns.popleft()
            if not turn.done():  # whoever asked has not gone meanwhile
                turn.set_result(None)
                self._running[key] += 1
                break
        if turns:
            self._waiting[key] = turns
