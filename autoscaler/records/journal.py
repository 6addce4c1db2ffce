"""The ledger's write-behind journal: changes wait here, in order, until the database has taken them.

No caller waits for the database: a thread of its own writes, so a database that is locked, full, read-only or gone
stops neither a termination nor the event loop. Only a purchase waits, with `durable`. What is not written yet is kept
in memory, one row per launch and a bounded number of events, and is tried again until it is written.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from autoscaler.errors import LedgerUnavailable
from autoscaler.records.ledger import Event, Ledger, Past
from autoscaler.types import Intent

_log = logging.getLogger(__name__)
# Events that wait in memory; when there are more, the oldest are dropped and counted.
_MOST_EVENTS = 2_000
# Launches that wait in memory; when there are more, those that never cost anything are dropped first.
_MOST_LAUNCHES = 5_000
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 15.0
# A write that takes longer is trouble, whatever becomes of it.
_SLOW_S = 3.0


class Journal:
    """`add` from one thread; the executor's thread writes. Without an executor, every change is written at once."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], executor: Executor | None = None) -> None:
        self._ledger, self._clock, self._executor = ledger, clock, executor or AtOnce()
        self._lock = threading.Lock()
        self._intents: dict[str, Intent] = {}
        self._events: deque[Event] = deque()
        self._dropped = 0
        self._writing: Future[None] | None = None
        self._began: float | None = None
        self._failures, self._failed_at, self._error = 0, 0.0, ""
        self._failing_since: float | None = None

    def read(self) -> "Future[Past]":
        """Everything that the fleet needs of the ledger, read beside the event loop."""
        return self._executor.submit(self._ledger.read)

    def add(self, event: Event | None, intent: Intent | None = None) -> None:
        """Write these soon; returns at once."""
        with self._lock:
            if intent is not None:
                self._intents[intent.name] = intent
                self._forget_what_cost_nothing()
            if event is not None:
                self._events.append(event)
                if len(self._events) > _MOST_EVENTS:
                    self._events.popleft()
                    self._dropped += 1
        if not self._error:
            self._submit()

    def retry(self) -> None:
        """Try again to write what waits, if it is time to; called with every round."""
        pause_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
        if self._error and self._clock() - self._failed_at >= pause_s:
            self._submit()

    async def durable(self, timeout_s: float) -> None:
        """Return once all that was added so far is committed. Raises LedgerUnavailable, after `timeout_s` at most."""
        written = self._submit()
        if not written.done():
            waiting = asyncio.wrap_future(written)
            await asyncio.wait({waiting}, timeout=timeout_s)
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not written.done():
            raise LedgerUnavailable(f"the ledger has not taken a write for {timeout_s:.0f} s")
        if (error := written.exception()) is not None:
            raise LedgerUnavailable(self.trouble() or f"the ledger cannot be written: {_first_line(error)}")

    def trouble(self) -> str:
        """Why nothing may be bought now, or "": the ledger does not take what has to be written first."""
        now, began = self._clock(), self._began
        waiting = f"{len(self._intents)} launches and {len(self._events)} events wait in memory"
        waiting += f", {self._dropped} older events were dropped" if self._dropped else ""
        if self._error:
            since = now - (self._failing_since or now)
            return f"the ledger cannot be written for {since:.0f} s ({self._error}); {waiting}"
        if began is not None and now - began > _SLOW_S:
            return f"the ledger has not taken a write for {now - began:.0f} s; {waiting}"
        return ""

    def unwritten(self) -> int:
        """How many launches and events wait to be written."""
        return len(self._intents) + len(self._events)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, for so long at most, and write nothing more. Blocks: the event loop has ended."""
        with contextlib.suppress(Exception):
            self._submit().result(timeout_s)
        self._executor.shutdown(wait=False)

    def _submit(self) -> "Future[None]":
        """A write that begins after now, and so takes along all that was added; one that waits already will do."""
        writing = self._writing
        if writing is None or writing.done() or writing.running():
            writing = self._writing = self._executor.submit(self._write)
        return writing

    def _write(self) -> None:
        with self._lock:
            intents, events = list(self._intents.values()), list(self._events)
        if not intents and not events:
            return
        self._began = self._clock()
        try:
            self._ledger.write(intents, events)
        except Exception as error:  # whatever it is: nothing may stop for it, and it is tried again
            self._failed(error)
            raise
        finally:
            self._began = None
        self._written(intents, events)

    def _failed(self, error: Exception) -> None:
        self._failed_at = self._clock()
        self._failing_since = self._failing_since or self._failed_at
        self._failures += 1
        self._error = _first_line(error)
        if self._failures == 1:
            _log.error("the ledger cannot be written: nothing is bought meanwhile", exc_info=error)

    def _written(self, intents: list[Intent], events: list[Event]) -> None:
        with self._lock:
            for intent in intents:
                if self._intents.get(intent.name) is intent:
                    del self._intents[intent.name]
            written = {id(event) for event in events}
            while self._events and id(self._events[0]) in written:
                self._events.popleft()
        if self._error:
            _log.warning("the ledger is written again")
        self._failures, self._error, self._failing_since, self._dropped = 0, "", None, 0

    def _forget_what_cost_nothing(self) -> None:
        if len(self._intents) > _MOST_LAUNCHES:
            free = (n for n, i in self._intents.items() if not i.live and i.bought_at is None)
            if (name := next(free, None)) is not None:
                del self._intents[name]


def _first_line(error: BaseException) -> str:
    """The database's own words, without SQLAlchemy's statement and parameters."""
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0][:200] or type(error).__name__


class AtOnce(Executor):
    """Runs what is submitted before `submit` returns: for simulations, whose time stands still meanwhile."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it now."""
        future: Future[Any] = Future()
        _run(future, fn, *args, **kwargs)
        return future


class WriterThread(Executor):
    """One daemon thread, in order: a write that hangs for ever must not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._loop, name=name, daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it when all that was submitted before has run."""
        future: Future[Any] = Future()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread when it has done what was submitted."""
        self._work.put(None)

    def _loop(self) -> None:
        while (item := self._work.get()) is not None:
            _run(*item)


def _run(future: "Future[Any]", work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work(*args, **kwargs)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
