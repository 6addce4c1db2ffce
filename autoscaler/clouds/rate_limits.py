"""How long to wait before the next call: from what clouds say of their rate limits, and from what they refuse.

RunPod tells in a `RateLimit` header how many calls are left in each of several windows; Vast.ai only refuses, in plain
text, with the spacing it wants (`endpoint threshold=4.5`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

_WINDOW = re.compile(r";\s*r=(\d+)\s*;\s*t=(\d+)")
_THRESHOLD = re.compile(r"threshold\s*=\s*(\d+(?:\.\d+)?)")
# No window known is longer than a day; what asks for more is shown again after it.
_LONGEST_S = 86_400.0
_DEFAULT_RETRY_S = 5.0
# The cloud measures distances where calls arrive: a slow call and a quick one come closer than they were sent.
_MARGIN_S = 0.25
# Reads leave this many calls of each window to purchases and terminations.
_RESERVED_CALLS = 10


@dataclass(frozen=True)
class Window:
    """`remaining` calls may be made in the next `reset_s` seconds."""

    remaining: int
    reset_s: float


def windows(header: str) -> list[Window]:
    """The windows of a `RateLimit` header such as `"minute";r=0;t=12, "hour";r=2800;t=1812`."""
    return [Window(int(r), float(t)) for r, t in _WINDOW.findall(header)]


def threshold_s(text: str) -> float | None:
    """The spacing that a plain-text refusal asks for, in seconds."""
    found = _THRESHOLD.search(text)
    return float(found[1]) if found else None


def retry_after_s(headers: Mapping[str, str], text: str) -> float:
    """How long a refused call has to wait: the longest of all that the refusal names."""
    waits = [window.reset_s for window in windows(headers.get("ratelimit", "")) if window.remaining == 0]
    waits += [wait for wait in (_retry_after(headers), threshold_s(text)) if wait is not None]
    return min(max(waits, default=_DEFAULT_RETRY_S), _LONGEST_S)


def spread_s(header: str) -> float:
    """The spacing of reads that never uses up any of the windows."""
    return max((w.reset_s / max(w.remaining - _RESERVED_CALLS, 1) for w in windows(header)), default=0.0)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, or as a date compared with the answer's own date."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    until, now = _date(value), _date(headers.get("date", ""))
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


@dataclass
class Pace:
    """When each kind of call may be made next. Times are seconds of one monotonic clock.

    `spacing_s`: the least distance of two calls of a scope, where the cloud has published or told one.
    """

    spacing_s: dict[str, float] = field(default_factory=dict)
    _blocked_until: dict[str, float] = field(default_factory=dict)
    _sent_at: dict[str, float] = field(default_factory=dict)
    _reads_spread_s: float = 0.0
    _read_at: float = float("-inf")

    def wait_s(self, scope: str, reads: bool, now: float) -> float:
        """How long a call has to wait now."""
        waits = [self._blocked_until.get(scope, now) - now]
        if (spacing_s := self.spacing_s.get(scope, 0.0)) > 0:
            waits.append(self._sent_at.get(scope, float("-inf")) + spacing_s + _MARGIN_S - now)
        if reads:
            waits.append(self._read_at + self._reads_spread_s - now)
        return max(0.0, *waits)

    def sent(self, scope: str, reads: bool, now: float) -> None:
        """A call is being made."""
        self._sent_at[scope] = now
        if reads:
            self._read_at = now

    def answered(self, scope: str, status: int, headers: Mapping[str, str], text: str, now: float) -> None:
        """Learn from an answer."""
        header = headers.get("ratelimit", "")
        self._reads_spread_s = min(spread_s(header), _LONGEST_S)
        empty = [window.reset_s for window in windows(header) if window.remaining == 0]
        if status == 429:
            empty.append(retry_after_s(headers, text))
            self.spacing_s[scope] = max(self.spacing_s.get(scope, 0.0), threshold_s(text) or 0.0)
        if empty:
            self._blocked_until[scope] = now + min(max(empty), _LONGEST_S)
