"""Where traces are written, if anywhere. These write none and cost a method call; traces_otel.py has the others.

A trace goes from the request, which may bring its caller's, to each stored segment. Its context is a `traceparent` as
W3C Trace Context writes it: a column of the analysis, since the dispatcher that works on it may be another process.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from serve_apps.queue.contract import ClaimedSegment


class Course:
    """How one segment goes, from its claim to its end."""

    def step(self, step: Mapping[str, Any]) -> None:
        """A step that its worker has sent: the first frame, or the report."""

    def failed(self, cause: str) -> None:
        """It has failed."""

    def end(self) -> None:
        """It is not worked on any more."""


class Traces:
    """Told of what happens. Called in the event loop."""

    @contextlib.contextmanager
    def request(self, name: str, traceparent: str) -> Iterator[str]:
        """A request is answered inside; gives the context for what follows from it, "" for none."""
        yield ""

    def planned(self, traceparent: str, analysis_id: str, created_at: float, began_at: float, error: str = "") -> None:
        """An analysis has been cut into segments, or has failed at that. Times are epoch seconds."""

    def course(self, segment: ClaimedSegment) -> Course:
        """A segment was claimed."""
        return _NO_COURSE

    def now(self) -> float:
        """Epoch seconds; 0 where nothing is traced."""
        return 0.0

    def close(self) -> None:
        """Send what is left. Blocks for seconds at most."""


def trace_id(traceparent: str) -> str:
    """The trace's id, for logs; "" for none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


_NO_COURSE = Course()
