"""What happens to an analysis, as server-sent events that a client can resume by Last-Event-ID."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

HEARTBEAT_S = 15.0


class EventKind(StrEnum):
    """Every analysis begins with `queued` and ends with exactly one of `succeeded` and `failed`."""

    QUEUED = "queued"
    PLANNED = "planned"
    FIRST_FRAME = "first_frame"
    SEGMENT_DONE = "segment_done"
    SEGMENT_RETRIED = "segment_retried"
    SEGMENT_FAILED = "segment_failed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Event:
    """One event. `at` is in epoch seconds; `id` grows with each event of the analysis."""

    id: int
    analysis_id: str
    at: float
    kind: EventKind
    data: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What a client gets as data."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        return {"kind": self.kind.value, "analysis_id": self.analysis_id, "at": at, **self.data}

    def to_sse(self) -> str:
        """The event as a frame of text/event-stream."""
        return f"id: {self.id}\nevent: {self.kind.value}\ndata: {json.dumps(self.to_dict())}\n\n"


class EventSource(Protocol):
    """Where events are read: `serve_apps.store.Store`."""

    def is_finished(self, analysis_id: str) -> bool:
        """Whether its terminal event has been written."""
        ...

    def events_after(self, analysis_id: str, event_id: int) -> Sequence[Event]:
        """The events with a greater id, in order."""
        ...


async def stream(
    store: EventSource,
    analysis_id: str,
    last_event_id: int = 0,
    poll_s: float = 0.25,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> AsyncIterator[str]:
    """Frames of all events after `last_event_id` as they happen; ends with the analysis.

    In silence a comment comes every 15 s, so that nothing between takes the connection for dead.
    """
    silent_s = 0.0
    while True:
        # In this order: an analysis that is finished now has all its events already.
        finished = await asyncio.to_thread(store.is_finished, analysis_id)
        for event in await asyncio.to_thread(store.events_after, analysis_id, last_event_id):
            yield event.to_sse()
            last_event_id, silent_s = event.id, 0.0
        if finished:
            return
        if silent_s >= HEARTBEAT_S:
            yield ": still here\n\n"
            silent_s = 0.0
        await sleep(poll_s)
        silent_s += poll_s
