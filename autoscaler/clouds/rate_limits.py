"""How long to wait before the next call: from what clouds say of their rate limits, and from what they refuse.

RunPod tells in a `RateLimit` header how many calls are left in each of several windows; Vast.ai only refuses, in plain
text, with the spacing it wants (`endpoint threshold=4.5`). Calls are of five kinds (CallKind), each with a budget and a
gate of its own, so that nothing that a cloud says of its catalogue or its list delays the end of a machine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

_MEMBER = re.compile(r"(?:\"[^\"]*\"|[^,\"])+")
_NUMBER = r"\s*=\s*(-?\d+(?:\.\d+)?)"
_REMAINING, _RESET = re.compile(r";\s*r" + _NUMBER), re.compile(r";\s*t" + _NUMBER)
_THRESHOLD = re.compile(r"threshold\s*=\s*(\d+(?:\.\d+)?)")
_SECONDS = re.compile(r"\+?\d+(\.\d+)?")
# No window known is longer than a day; what asks for more is shown again after it.
_LONGEST_S = 86_400.0
_DEFAULT_RETRY_S, _LEAST_RETRY_S = 5.0, 1.0
# The cloud measures distances where calls arrive: a slow call and a quick one come closer than they were sent.
_MARGIN_S = 0.25


class CallKind(StrEnum):
    """What a call is for, the most important kind first."""

    END = "end"
    BUY = "buy"
    LIST = "list"
    OFFERS = "offers"
    BILL = "bill"


# A machine that is not ended is billed on, and a refused call costs nothing: ends are tried twice a minute whatever the
# cloud asks for. At 4 USD/h, half a minute costs three cents; two calls a minute harm no API. A list that is asked for
# every hour still finds what no launch knows of.
LONGEST_WAIT_S: Mapping[CallKind, float] = {CallKind.END: 30.0, CallKind.LIST: 3_600.0}
# A kind leaves so many calls of each window to the kinds before it.
_RESERVED = {CallKind.END: 0, CallKind.BUY: 10, CallKind.LIST: 20, CallKind.OFFERS: 30, CallKind.BILL: 40}
# Reads are spread over a window; each kind of them may use this share of what is left to it.
_SHARE = {CallKind.LIST: 0.75, CallKind.OFFERS: 0.5, CallKind.BILL: 0.05}
# So many reads of a kind may follow one another at once before they are spread.
_BURST_CALLS = 4
# After a pause, one call tests whether it is over; the others wait for its answer, but no longer than this.
_PROBE_S = 30.0
_LONGEST_SPACING_S = 60.0


@dataclass(frozen=True)
class Window:
    """`remaining` calls may be made in the next `reset_s` seconds."""

    remaining: float
    reset_s: float


def windows(header: str) -> list[Window]:
    """The windows of a `RateLimit` header such as `"minute";r=0;t=12, "hour";r=2800;t=1812`; [] if it has none."""
    found = []
    for member in _MEMBER.findall(header):
        remaining, reset = _REMAINING.search(member), _RESET.search(member)
        if remaining and reset:
            found.append(Window(max(0.0, float(remaining[1])), min(max(0.0, float(reset[1])), _LONGEST_S)))
    return found


def threshold_s(text: str) -> float | None:
    """The spacing that a plain-text refusal asks for, in seconds."""
    found = _THRESHOLD.search(text)
    return float(found[1]) if found else None


def retry_after_s(headers: Mapping[str, str], text: str, now_unix: float | None = None) -> float:
    """How long a refused call has to wait: the longest of all that the refusal names, from a second to a day.

    What cannot be read is taken for nothing. `now_unix`: the time by which a date is judged where the answer has none.
    """
    waits = [window.reset_s for window in windows(headers.get("ratelimit", "")) if window.remaining < 1]
    waits += [wait for wait in (_retry_after(headers, now_unix), threshold_s(text)) if wait is not None]
    return min(max(max(waits, default=_DEFAULT_RETRY_S), _LEAST_RETRY_S), _LONGEST_S)


def bounded_s(kind: CallKind, wait_s: float) -> float:
    """The part of a wait that a call of this kind really keeps."""
    return min(wait_s, LONGEST_WAIT_S.get(kind, _LONGEST_S))


def spread_s(header: str, kind: CallKind = CallKind.LIST) -> float:
    """The spacing of reads of a kind that never uses up its part of any window."""
    return max((_spread_s(w.remaining, w.reset_s, kind) for w in windows(header)), default=0.0)


def _spread_s(remaining: float, reset_s: float, kind: CallKind) -> float:
    share = _SHARE.get(kind)
    return 0.0 if share is None else reset_s / max((remaining - _RESERVED[kind]) * share, 1.0)


def _retry_after(headers: Mapping[str, str], now_unix: float | None) -> float | None:
    """Retry-After in seconds, or as a date compared with the answer's own date or with our clock."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until, now = _date(value), _date(headers.get("date", ""))
    if now is None and now_unix is not None:
        now = datetime.fromtimestamp(now_unix, UTC)
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass
class Pace:
    """When each kind of call may be made next. Times are seconds of one monotonic clock.

    `spacing_s`: the least distance of two calls of a kind, where the cloud has published or told one. A refusal (429)
    closes the gate of its own kind only. What successful answers tell of the account's windows slows down all but ends,
    each kind once it has used its own part.
    """

    spacing_s: dict[CallKind, float] = field(default_factory=dict)
    _pause_s: dict[CallKind, float] = field(default_factory=dict)
    _refused_until: dict[CallKind, float] = field(default_factory=dict)
    _sent_at: dict[CallKind, float] = field(default_factory=dict)
    _spread_until: dict[CallKind, float] = field(default_factory=dict)
    _windows: list[tuple[float, float]] = field(default_factory=list)

    def wait_s(self, kind: CallKind, now: float) -> float:
        """How long a call has to wait now."""
        waits = [self._refused_until.get(kind, now) - now]
        if (spacing_s := self.spacing_s.get(kind, 0.0)) > 0:
            waits.append(self._sent_at.get(kind, float("-inf")) + spacing_s + _MARGIN_S - now)
        if kind is not CallKind.END:
            waits += [until - now for left, until in self._windows if left - _RESERVED[kind] < 1]
        if kind in _SHARE:
            burst_s = (_BURST_CALLS - 1) * self._spread_now_s(kind, now)
            waits.append(self._spread_until.get(kind, float("-inf")) - burst_s - now)
        return bounded_s(kind, max(0.0, *waits))

    def sent(self, kind: CallKind, now: float) -> None:
        """A call is being made."""
        self._sent_at[kind] = now
        self._spread_until[kind] = max(self._spread_until.get(kind, now), now) + self._spread_now_s(kind, now)
        if kind in self._pause_s:
            self._refused_until[kind] = now + min(self._pause_s[kind], _PROBE_S)

    def answered(
        self,
        kind: CallKind,
        status: int,
        headers: Mapping[str, str],
        text: str,
        now: float,
        now_unix: float | None = None,
    ) -> None:
        """Learn from an answer."""
        if status == 429:
            self._pause_s[kind] = pause_s = bounded_s(kind, retry_after_s(headers, text, now_unix))
            self._refused_until[kind] = now + pause_s
            spacing_s = max(self.spacing_s.get(kind, 0.0), threshold_s(text) or 0.0)
            self.spacing_s[kind] = min(spacing_s, bounded_s(kind, _LONGEST_SPACING_S))
            return
        self._pause_s.pop(kind, None)
        self._refused_until.pop(kind, None)
        if told := windows(headers.get("ratelimit", "")):
            self._windows = [(window.remaining, now + window.reset_s) for window in told]

    def _spread_now_s(self, kind: CallKind, now: float) -> float:
        current = (_spread_s(left, until - now, kind) for left, until in self._windows if until > now)
        return max(current, default=0.0)
