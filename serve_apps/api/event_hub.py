"""Live events for any number of clients: one poller of the database in a process feeds all streams."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from serve_apps.store.events import Event

HEARTBEAT_S = 15.0
_WAITING_EVENTS = 64  # of one slow client; what does not fit is read again from the database
_log = logging.getLogger(__name__)


class EventSource(Protocol):
    """Where events are read: `serve_apps.store.analysis_store.Store`."""

    def heads(self, analysis_ids: Sequence[str]) -> Mapping[str, tuple[bool, int]]:
        """Of each analysis that exists: whether it has finished, and the id of its newest event."""
        ...

    def events_after(self, analysis_id: str, event_id: int) -> Sequence[Event]:
        """The events with a greater id, in order."""
        ...


@dataclass(eq=False)
class _Stream:
    analysis_id: str
    last_id: int
    owner: str
    events: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(_WAITING_EVENTS))

    def offer(self, found: Iterable[Event], finished: bool) -> bool:
        """Take what fits; True when the end was taken."""
        with contextlib.suppress(asyncio.QueueFull):
            for event in found:
                if event.id > self.last_id:
                    self.events.put_nowait(event)
                    self.last_id = event.id
            if finished:
                self.events.put_nowait(None)
                return True
        return False


class EventHub:
    """Streams of events. It polls only while somebody listens; at each tick two queries, and one for each change."""

    def __init__(self, source: EventSource, poll_s: float = 0.25, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._source, self._poll_s, self._heartbeat_s = source, poll_s, heartbeat_s
        self._streams: set[_Stream] = set()
        self._look_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    @property
    def open_streams(self) -> int:
        """How many clients listen."""
        return len(self._streams)

    def streams_of(self, owner: str) -> int:
        """How many of them a key has."""
        return sum(stream.owner == owner for stream in self._streams)

    def look_now(self) -> None:
        """Something has just happened. Call from the loop's own thread."""
        self._look_now.set()

    async def events(
        self, analysis_id: str, last_event_id: int = 0, owner: str = ""
    ) -> AsyncGenerator[Event | None, None]:
        """All events after `last_event_id` as they happen, to the analysis's end; None after 15 s of silence."""
        stream = _Stream(analysis_id, last_event_id, owner)
        self._streams.add(stream)
        self._look_now.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            while True:
                try:
                    event = await asyncio.wait_for(stream.events.get(), self._heartbeat_s)
                except TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                yield event
        finally:
            self._streams.discard(stream)

    async def frames(self, analysis_id: str, last_event_id: int = 0, owner: str = "") -> AsyncGenerator[str, None]:
        """The same as text/event-stream; in silence a comment, so that nothing between calls the connection dead."""
        async for event in self.events(analysis_id, last_event_id, owner):
            yield ": still here\n\n" if event is None else event.to_sse()

    async def wait_finished(self, analysis_id: str, timeout_s: float, owner: str = "") -> bool:
        """Wait for the analysis's end; False when it has not come within `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), contextlib.aclosing(self.events(analysis_id, owner=owner)) as events:
                async for _event in events:
                    pass
                return True
        return False

    async def _poll(self) -> None:
        while self._streams:
            self._look_now.clear()
            try:
                await self._tick()
            except Exception:  # clients keep their streams while the database is away
                _log.exception("events could not be read; trying again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), self._poll_s)

    async def _tick(self) -> None:
        by_analysis: defaultdict[str, list[_Stream]] = defaultdict(list)
        for stream in self._streams:
            by_analysis[stream.analysis_id].append(stream)
        heads = await asyncio.to_thread(self._source.heads, list(by_analysis))
        for analysis_id, streams in by_analysis.items():
            finished, newest = heads.get(analysis_id, (True, 0))  # erased: over
            first = min(stream.last_id for stream in streams)
            found: Sequence[Event] = ()
            if newest > first:
                found = await asyncio.to_thread(self._source.events_after, analysis_id, first)
            for stream in streams:
                if stream.offer(found, finished):
                    self._streams.discard(stream)
