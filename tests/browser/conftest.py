"""A real Chromium and the real service. Skipped where there is no Chromium, but never where CI runs."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from pipelines.sample import sample_video
from tests.service import TOKEN
from tests.serving import MACHINE, Served, serving

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
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


# Playwright's event loop occupies the main thread while it is open: closed with this folder, or no later test in the
# same process could run a loop of its own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if path is None:
        reason = "no Chromium is installed here (Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("REQUIRE_SERVICES") else pytest.skip)(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests here; models are loaded once."""
    with serving(tmp_path_factory.mktemp("service"), sample_video().parent) as served:
        yield served


@pytest.fixture
def calm(served: Served) -> Iterator[Served]:
    """The service with workers that work, and with no machine listed."""
    served.go_on.set()
    yield served
    served.go_on.set()
    served.fleet.view.pop("spending", None)
    served.fleet.view["instances"] = []


@dataclass
class Visitor:
    """A browser tab, and everything that it asked for and complained about."""

    page: Page
    context: BrowserContext
    url: str
    requests: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def enter(self, place: str = "") -> Page:
        """Come in as `aima open` does, then go to a place such as #/analyses/an_..."""
        self.page.goto(f"{self.url}/#token={quote(TOKEN)}")
        self.page.locator("#analyzers input").first.wait_for()
        if place:
            self.page.goto(f"{self.url}/{place}")
        return self.page


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Callable[..., Visitor]]:
    """Opens tabs in fresh profiles; afterwards none may have complained or asked another host for anything."""
    visitors: list[Visitor] = []

    def open_tab(viewport: Any = DESKTOP, **options: Any) -> Visitor:
        context = browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(60_000)
        visitor = Visitor(context.new_page(), context, served.url)
        visitor.page.on("request", lambda request: visitor.requests.append(request))
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("console", lambda m: visitor.complaints.append(m.text) if m.type == "error" else None)
        visitors.append(visitor)
        return visitor

    yield open_tab
    for visitor in visitors:
        elsewhere = [r.url for r in visitor.requests if not r.url.startswith((served.url, "data:", "blob:"))]
        visitor.context.close()
        assert elsewhere == []
        assert visitor.complaints == []


@pytest.fixture(scope="package")
def finished(served: Served) -> str:
    """An analysis of the sample video that has succeeded; its id."""
    from cluster.client import Client  # noqa: PLC0415

    served.go_on.set()
    with Client(served.url, TOKEN) as client:
        view = client.wait(client.submit(str(sample_video()), ["labels", "scenes"])["id"], timeout_s=180)
    assert view["state"] == "succeeded", view["error"]
    return str(view["id"])


def machine(**more: Any) -> dict[str, Any]:
    """A machine of the fleet's view: one that boots, at 0.74 USD an hour."""
    return {
        "name": MACHINE,
        "node_type": "gpu",
        "cloud": "runpod",
        "state": "bought",
        "phase": "its machine boots and joins",
        "joined": False,
        "wanted_at": 0.0,
        "ended_at": None,
        "price_usd_per_hour": 0.72,
        "usual_boot_s": 45.0,
        "boot_s": None,
        "billed_s": 20.0,
        "cost_usd": 0.004,
        "reason": "",
    } | more


def sample() -> Path:
    """The video that the tests bring."""
    return sample_video()
