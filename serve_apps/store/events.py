"""What happens to an analysis, as values and as frames of text/event-stream. Who streams them: event_hub.py."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """Every analysis begins with `queued` and ends with `succeeded`, `partial`, `failed` or `cancelled`.

    After `retried` it goes on, to another end.
    """

    QUEUED = "queued"
    PLANNED = "planned"
    MEDIA_RETRIED = "media_retried"
    MEDIA_FAILED = "media_failed"
    FIRST_FRAME = "first_frame"
    SEGMENT_DONE = "segment_done"
    SEGMENT_RETRIED = "segment_retried"
    SEGMENT_FAILED = "segment_failed"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"


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
