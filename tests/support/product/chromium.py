"""A real Chromium and its tabs. Skipped where there is no Chromium, but never where CI runs.

AIMA_TEST_PICTURES names a folder in which tests that look at the page leave what they saw, for people.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
# Without them Chromium asks its maker's hosts for this and that at every start.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


_OVERFLOWING = """() => [...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}`)"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, until the block ends.

    Playwright's event loop occupies the main thread meanwhile: nothing else in this process can run one of its own.
    """
    path = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if path is None:
        reason = "no Chromium is installed here (Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("REQUIRE_SERVICES") else pytest.skip)(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A browser tab, and everything that it asked for and complained about."""

    page: Page
    context: BrowserContext
    url: str
    token: str
    requests: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def enter(self, place: str = "") -> Page:
        """Come in as `aima open` does, then go to a place such as #/analyses/an_..."""
        self.page.goto(f"{self.url}/#token={quote(self.token)}")
        self.page.locator("#analyzers input").first.wait_for()
        if place:
            self.page.goto(f"{self.url}/{place}")
        return self.page

    def overflows(self, viewport: ViewportSize) -> list[str]:
        """What sticks out of the page's right edge on a screen of this size."""
        before = self.page.viewport_size
        self.page.set_viewport_size(viewport)
        found: list[str] = self.page.evaluate(_OVERFLOWING)
        self.page.set_viewport_size(before or DESKTOP)
        return found

    def pictures(self, name: str) -> None:
        """Leave pictures of the whole page as it is now, where pictures are wanted: light and dark, large and small."""
        folder = os.environ.get("AIMA_TEST_PICTURES")
        before = self.page.viewport_size
        if not folder or not before:
            return
        looks: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for look in looks:
            self.page.emulate_media(color_scheme=look)
            for size, viewport in {"desktop": DESKTOP, "phone": PHONE}.items():
                self.page.set_viewport_size(viewport)
                self.page.evaluate("scrollTo(0, 0)")  # the header would lie over the middle of the picture
                self.page.screenshot(path=Path(folder, f"{name}-{size}-{look}.png"), full_page=True)
        self.page.emulate_media(color_scheme=None)
        self.page.set_viewport_size(before)


Visit = Callable[..., Visitor]


@contextmanager
def visiting(browser: Browser, url: str, token: str) -> Iterator[Visit]:
    """Opens tabs in fresh profiles; afterwards none may have complained or asked another host for anything."""
    visitors: list[Visitor] = []

    def open_tab(viewport: Any = DESKTOP, **options: Any) -> Visitor:
        context = browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(60_000)
        visitor = Visitor(context.new_page(), context, url, token)
        visitor.page.on("request", lambda request: visitor.requests.append(request))
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("console", lambda m: visitor.complaints.append(m.text) if m.type == "error" else None)
        visitors.append(visitor)
        return visitor

    yield open_tab
    for visitor in visitors:
        elsewhere = [r.url for r in visitor.requests if not r.url.startswith((url, "data:", "blob:"))]
        visitor.context.close()
        assert elsewhere == []
        assert visitor.complaints == []
