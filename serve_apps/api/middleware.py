"""Around every request: security headers, counting, and the order of checks: the key, then the size, then the body.

Plain ASGI: it adds microseconds. FastAPI reads and parses a body before it asks who sent it, so who may send one is
asked here.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines import logs
from serve_apps.api.auth import Gate
from serve_apps.api.problems import ProblemError, problem_response

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Answers of the API load nothing and are not kept; pages and what they load bring their own rules.
_PAGES = (b"text/html", b"text/css", b"text/javascript", b"image/", b"font/")
_OF_ANSWERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_ANALYSIS = re.compile(r"an_[0-9a-f]{16}", re.ASCII)
_UPLOADED_PART = re.compile(r"/v1/uploads/[^/]+/parts/[^/]+")
Answered = Callable[[str, str, int, float], None]


@dataclass(frozen=True)
class BodyLimits:
    """The longest bodies, in bytes, and how long the next bytes of one may take, in seconds."""

    submission_bytes: int = 10 << 20  # 1000 media, each with a presigned URL of 8 KiB
    image_bytes: int = 32 << 20  # a picture that is analysed in one call; larger ones are uploads
    form_bytes: int = 50 << 30  # a whole file in a form; it goes to the disk
    part_bytes: int = 1 << 30  # a part of an upload, whose own size is checked as it comes
    other_bytes: int = 64 << 10
    silence_s: float = 30.0

    def of(self, path: str, content_type: str) -> int:
        """The most bytes that a body sent there may have."""
        limits: Mapping[str, int] = {
            "/v1/analyses": self.submission_bytes,
            "/v1/estimates": self.submission_bytes,
            "/v1/images:analyze": self.image_bytes if content_type.startswith("image/") else self.other_bytes,
            "/v1/uploads": self.form_bytes if content_type.startswith("multipart/") else self.other_bytes,
        }
        return limits.get(path, self.part_bytes if _UPLOADED_PART.fullmatch(path) else self.other_bytes)


class Guard:
    """The middleware. There are no CORS headers: browsers keep other sites' pages out."""

    def __init__(self, app: ASGIApp, answered: Answered, gate: Gate, limits: BodyLimits) -> None:
        self._app, self._answered, self._gate, self._limits = app, answered, gate, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_ours(message.get("headers", []))
                route = getattr(scope.get("route"), "path_format", "none")
                self._answered(scope["method"], route, message["status"], time.perf_counter() - started)
            await send(message)

        named = _ANALYSIS.search(scope["path"])
        with logs.about(analysis=named[0]) if named else contextlib.nullcontext():
            try:
                receive = await self._admitted(scope, receive)
            except ProblemError as problem:
                await problem_response(problem)(scope, receive, send_guarded)
                return
            await self._app(scope, receive, send_guarded)

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive:
        """What reads the body: nothing is read of it before its sender is known. Raises the 401, 413 and 429."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if (not length and "transfer-encoding" not in headers) or length == "0":
            return receive
        source = (scope.get("client") or ("",))[0]
        scope["aima.key"] = await self._gate.admit(headers.get("authorization", ""), source)
        limit = self._limits.of(scope["path"], headers.get("content-type", "").lower())
        if length.isdecimal() and int(length) > limit:
            raise ProblemError(413, too_long(limit))
        return _Bounded(receive, limit, self._limits.silence_s)


def too_long(limit: int) -> str:
    """What is said of a body that has more than `limit` bytes."""
    return f"the body has more than the {limit} bytes that may be sent here; send a file as an upload in parts"


class _Bounded:
    """Reads a body that may be neither longer nor slower than agreed."""

    def __init__(self, receive: Receive, limit: int, silence_s: float) -> None:
        self._receive, self._limit, self._silence_s = receive, limit, silence_s
        self._got, self._over = 0, False

    async def __call__(self) -> Message:
        """See ASGI. Raises the 408 and the 413 as FastAPI lets them through."""
        if self._over:  # what comes now says that the client has gone, and may take as long as the answer
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._silence_s)
        except TimeoutError:
            raise HTTPException(408, f"nothing more of the body came for {self._silence_s:g} s") from None
        if message["type"] == "http.request":
            self._got += len(message.get("body", b""))
            self._over = not message.get("more_body", False)
            if self._got > self._limit:
                raise HTTPException(413, too_long(self._limit))
        return message


def _with_ours(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name.lower(): value for name, value in given}
    ours = list(_HEADERS)
    if not names.get(b"content-type", b"").startswith(_PAGES):
        ours += _OF_ANSWERS
    return given + [(name, value) for name, value in ours if name not in names]
