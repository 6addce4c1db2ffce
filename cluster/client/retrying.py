"""Whether and when a call is sent again. Values in, values out."""

from collections.abc import Mapping

import httpx

TIMEOUT = httpx.Timeout(30.0)
STREAM_TIMEOUT = httpx.Timeout(10.0, read=45.0)  # the API sends a sign of life every 15 s
# An API that restarts with its head is away for a minute at most; a longer outage is the caller's to know.
GIVE_UP_AFTER_S = 60.0
RESUME_AFTER_S = 0.25
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 5.0
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
# Refused before anything was done.
_UNTOUCHED = frozenset({429, 503})


def is_transient(status: int) -> bool:
    """Whether the same call may be answered otherwise in a moment."""
    return status in _TRANSIENT


def wait_before_retry(
    reply: httpx.Response | None, attempt: int, elapsed_s: float, repeatable: bool = True
) -> float | None:
    """Seconds to wait before the call is sent again; None when its answer stands, or the patience is over.

    `reply` is None when no answer came; `attempt` counts from 1, `elapsed_s` from the first sending.
    """
    if reply is not None and not is_transient(reply.status_code):
        return None
    if not repeatable and (reply is None or reply.status_code not in _UNTOUCHED):
        return None
    wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(attempt - 1, 20))
    wait_s = max(wait_s, 0.0 if reply is None else _asked_for(reply.headers))
    return wait_s if elapsed_s + wait_s <= GIVE_UP_AFTER_S else None


def _asked_for(headers: Mapping[str, str]) -> float:
    """The server's Retry-After in seconds; a date, which our API never sends, is not understood."""
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
