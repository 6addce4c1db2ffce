"""The only HTTP client: timeouts, rate limits, retries where they are safe, and every answer mapped to errors.py.

Reads and terminations are repeated a few times. A purchase is sent once: only a refusal that did nothing (429) is
followed by another try. Whatever cannot be told from "it was bought" becomes OutcomeUnknown.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import httpx

from autoscaler.clouds.rate_limits import CallKind, Pace, bounded_s, retry_after_s
from autoscaler.errors import (
    ApiRetired,
    BalanceTooLow,
    CloudError,
    KeyRefused,
    NoCapacity,
    OutcomeUnknown,
    RateLimited,
)

_USER_AGENT = f"aima/{version('aima-media')}"
_TIMEOUT = httpx.Timeout(8.0, connect=4.0)
# A purchase is waited for as long as RunPod's own examples wait: given up earlier, it is unclear what was bought.
_PURCHASE_TIMEOUT = httpx.Timeout(60.0, connect=4.0)
# All tries of one call together stay below the reconciler's own limit for a call.
_BACKOFF_S = (0.3, 1.0)
_PATIENCE_S = 6.0
_EXCERPT_CHARS = 300
# A thousand pods with all that they were told take a few MiB.
_MAX_ANSWER_BYTES = 32 * 1024 * 1024
_TRANSIENT = (408, 425, 500, 502, 503, 504)
_HTML = "text/html"
# At DEBUG, httpcore writes every header of an answer into the log.
logging.getLogger("httpcore").setLevel(logging.WARNING)
Sleep = Callable[[float], Awaitable[None]]


class _NoAnswer(CloudError):
    """The connection failed or broke; `sent` tells whether the cloud may have read the request.

    `repeatable`: whether the next try may go better.
    """

    def __init__(self, message: str, sent: bool, repeatable: bool = True) -> None:
        super().__init__(message)
        self.sent, self.repeatable = sent, repeatable


@dataclass(frozen=True)
class Reply:
    """An answer, whatever its status. `call` names the request in messages; `prose` is what it says to people."""

    call: str
    status: int
    headers: Mapping[str, str]
    text: str
    prose: str
    kind: CallKind = CallKind.LIST

    @property
    def ok(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    @property
    def is_html(self) -> bool:
        """Whether a proxy or firewall answered in the API's place."""
        return self.headers.get("content-type", "").startswith(_HTML) or self.text.lstrip()[:1] == "<"

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.text)

    def fields(self) -> Mapping[str, Any]:
        """The body if it is a JSON object, else nothing."""
        try:
            body = self.json()
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}


class Rest:
    """One account at one cloud. Clock and sleep are monotonic seconds; `wall_clock` gives unix seconds,
    by which dates are judged.

    `spacing_s`: the least distance of two calls of the same kind, in seconds. `explain`: what an answer means at this
    cloud, if it is not what its status says. `timeout`: of every call, where it is to be another than usual.
    """

    def __init__(
        self,
        cloud: str,
        base_url: str,
        api_key: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        spacing_s: Mapping[CallKind, float] | None = None,
        timeout: httpx.Timeout | None = None,
        explain: Callable[[Reply], CloudError | None] = lambda _reply: None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._cloud, self._key = cloud, _checked(cloud, api_key)
        self._purchase_timeout = timeout or _PURCHASE_TIMEOUT
        self._clock, self._sleep, self._explain = clock, sleep, explain
        self._now_unix: Callable[[], float | None] = wall_clock or (lambda: None)
        self._pace = Pace(dict(spacing_s or {}))
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": _USER_AGENT, "Accept": "application/json"}
        self._client = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout or _TIMEOUT)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str] | None = None, kind: CallKind = CallKind.LIST) -> Reply:
        """Read. Returns a success; raises CloudError for everything else."""
        return self._checked_read(await self._repeat("GET", path, kind, params=params))

    async def find(
        self,
        path: str,
        gone: Callable[[Reply], bool] = lambda reply: reply.status == 404 and not reply.is_html,
    ) -> Reply | None:
        """Read what may not be there: None when the API itself says so (`gone`). Raises CloudError for all else."""
        reply = await self._repeat("GET", path, CallKind.LIST)
        return None if not reply.ok and gone(reply) else self._checked_read(reply)

    async def search(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Read offers by POST, as `get` does."""
        return self._checked_read(await self._repeat("POST", path, CallKind.OFFERS, json=body))

    async def delete(self, path: str) -> Reply:
        """Ask for an end, which may be asked for twice. Returns any answer that is not transient."""
        reply = await self._repeat("DELETE", path, CallKind.END)
        if reply.status in _TRANSIENT or reply.status == 429:
            raise self.failure(reply)
        return reply

    async def purchase(self, method: str, path: str, body: Mapping[str, Any]) -> Reply:
        """Buy, at most once. Returns a success or a refusal that is for the provider to read.

        Raises NoCapacity when nothing was sent, OutcomeUnknown when it may have been bought, RateLimited and
        CloudStopped when it was not.
        """
        try:
            reply = await self._patiently(method, path, CallKind.BUY, json=body, timeout=self._purchase_timeout)
        except _NoAnswer as error:
            if error.sent:
                raise OutcomeUnknown(str(error)) from None
            raise NoCapacity(f"{error}; nothing was sent") from None
        refused = 400 <= reply.status < 500 and reply.status not in _TRANSIENT
        if reply.status in (401, 402, 429) or (reply.status in (403, 410) and reply.is_html):
            raise self.failure(reply)
        if not reply.ok and (not refused or reply.is_html):
            raise OutcomeUnknown(f"{self.describe(reply)}; it may have been bought")
        return reply

    async def stream_lines(self, path: str, params: Mapping[str, str], seconds: float) -> list[str]:
        """What a stream that does not end says within `seconds`."""
        lines: list[str] = []
        try:
            async with asyncio.timeout(seconds), self._client.stream("GET", path, params=dict(params)) as response:
                async for line in response.aiter_lines():
                    lines.append(self.without_secrets(line))
        except (TimeoutError, httpx.HTTPError):
            pass  # what was said until then is the answer
        return lines

    def failure(self, reply: Reply) -> CloudError:
        """The error that an answer means."""
        if (known := self._explain(reply)) is not None:
            return known
        said = self.describe(reply)
        if reply.status == 429:
            wait_s = self._asked_wait_s(reply)
            return RateLimited(f"{said}; the next call is due in {wait_s:.0f} s", wait_s)
        kinds = {401: KeyRefused, 402: BalanceTooLow, 403: KeyRefused, 410: ApiRetired}
        if reply.status == 410:
            said += f"; {self._cloud} has retired this API ({self._client.base_url}): a newer AIMA is needed"
        return kinds.get(reply.status, CloudError)(said)

    def _asked_wait_s(self, reply: Reply) -> float:
        """How long the calls of its kind have to wait after this refusal."""
        return bounded_s(reply.kind, retry_after_s(reply.headers, reply.text, self._now_unix()))

    def describe(self, reply: Reply) -> str:
        """What was asked and answered, in one line without secrets."""
        return f"{self._cloud} answered {reply.call} with {reply.status}: {reply.prose or 'nothing'}"

    def without_secrets(self, text: str) -> str:
        """The text with the key replaced, however it is spelled."""
        for spelled in {self._key, quote(self._key, safe=""), json.dumps(self._key)[1:-1]}:
            text = text.replace(spelled, "***")
        return text

    def _checked_read(self, reply: Reply) -> Reply:
        if not reply.ok:
            raise self.failure(reply)
        return reply

    async def _repeat(self, method: str, path: str, kind: CallKind, **content: Any) -> Reply:
        """Try a few times while the trouble looks transient."""
        started = self._clock()
        for pause_s in (*_BACKOFF_S, None):
            last = pause_s is None or self._clock() - started > _PATIENCE_S
            try:
                reply = await self._patiently(method, path, kind, **content)
            except _NoAnswer as error:
                if last or not error.repeatable:
                    raise
            else:
                if last or reply.status not in _TRANSIENT:
                    return reply
            assert pause_s is not None
            await self._sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    async def _patiently(self, method: str, path: str, kind: CallKind, **content: Any) -> Reply:
        """One call in its turn; refused for its pace, it is tried once more when the wait is short."""
        reply = await self._once(method, path, kind, content)
        if reply.status == 429 and self._asked_wait_s(reply) <= _PATIENCE_S:
            return await self._once(method, path, kind, content)
        return reply

    async def _turn(self, kind: CallKind) -> None:
        """Wait until the cloud wants the next call. Raises RateLimited, having asked nothing, when that takes long."""
        while (wait_s := self._pace.wait_s(kind, self._clock())) > 0:
            if wait_s > _PATIENCE_S:
                said = f"{self._cloud} limits the rate of calls: the next of the kind {kind!r} is due in {wait_s:.0f} s"
                raise RateLimited(said, wait_s)
            await self._sleep(wait_s)
        self._pace.sent(kind, self._clock())

    async def _once(self, method: str, path: str, kind: CallKind, content: Mapping[str, Any]) -> Reply:
        await self._turn(kind)
        call = f"{method} {path}"
        try:
            async with self._client.stream(method, path, **content) as response:
                text = await self._bounded_text(response, call)
        except httpx.HTTPError as error:
            sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            what = self.without_secrets(f"{type(error).__name__} {error}".strip())
            raise _NoAnswer(f"{self._cloud} did not answer {call}: {what}", sent) from None
        self._pace.answered(kind, response.status_code, response.headers, text, self._clock(), self._now_unix())
        prose = _prose(self.without_secrets(text))
        return Reply(call, response.status_code, response.headers, text, prose, kind)

    async def _bounded_text(self, response: httpx.Response, call: str) -> str:
        """The whole body, unless it is longer than any answer that could be of use."""
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_ANSWER_BYTES:
                said = f"{self._cloud} answered {call} with more than {_MAX_ANSWER_BYTES} bytes"
                raise _NoAnswer(said, sent=True, repeatable=False)
        return body.decode(errors="replace")


def _prose(text: str) -> str:
    """What an error body says to people: RunPod's `detail` and `errors`, Vast's `error` and `msg`, or its beginning."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:_EXCERPT_CHARS]
    parts = [body.get(key) for key in ("detail", "errors", "error", "msg")]
    return "; ".join(str(part) for part in parts if part)[:_EXCERPT_CHARS]


def _checked(cloud: str, api_key: str) -> str:
    """The key without surrounding blanks. Raises KeyRefused, not showing it, when no header can carry it."""
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise KeyRefused(f"the API key for {cloud} is empty or contains characters that no key has")
    return key
