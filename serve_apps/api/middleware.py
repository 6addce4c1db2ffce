"""Around every request: security headers and counting. Plain ASGI: it adds microseconds."""

import contextlib
import re
import time
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines import logs

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
Answered = Callable[[str, str, int, float], None]


class Guard:
    """The middleware. There are no CORS headers: browsers keep other sites' pages out."""

    def __init__(self, app: ASGIApp, answered: Answered) -> None:
        self._app, self._answered = app, answered

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
            await self._app(scope, receive, send_guarded)


def _with_ours(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name.lower(): value for name, value in given}
    ours = list(_HEADERS)
    if not names.get(b"content-type", b"").startswith(_PAGES):
        ours += _OF_ANSWERS
    return given + [(name, value) for name, value in ours if name not in names]
