"""/ and /web: the page for people. It holds nothing of anybody: what it shows, it asks the API for, with their key."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parents[2] / "web"
# Scripts, styles and data come from here only, markup is never made of strings, and nobody may frame it.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
# Asked for again each time, answered by 304 while nothing changed: a new release is seen at once.
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def add_page(app: FastAPI) -> None:
    """Put the page at / and its files at /web."""
    app.mount("/web", _Files(directory=_FOLDER), name="web")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_FOLDER / "index.html", headers=_HEADERS)


class _Files(StaticFiles):
    """The page's files, under its policy."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """See StaticFiles."""
        reply = super().file_response(*args, **kwargs)
        reply.headers.update(_HEADERS)
        return reply
