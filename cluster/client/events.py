"""Server-sent events, read line by line. Values in, values out."""

import json
from dataclasses import dataclass, field
from typing import Any

FINISHED = ("succeeded", "partial", "failed", "cancelled")


@dataclass
class EventReader:
    """Collects the lines of a stream into events, and remembers where to resume it."""

    last_event_id: int = 0
    over: bool = False  # nothing will follow
    _data: list[str] = field(default_factory=list)
    _id: int | None = None

    def feed(self, line: str) -> dict[str, Any] | None:
        """Take a line without its end; the event that it completes, if it does."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = int(value)
            return None
        if not self._data:
            return None
        event: dict[str, Any] = json.loads("\n".join(self._data))
        if self._id is not None:
            self.last_event_id = self._id
        self.cut()
        self.over = event.get("kind") in FINISHED
        return event

    def cut(self) -> None:
        """Forget a half-read event: the connection broke."""
        self._data, self._id = [], None
