"""A real Chromium and the real service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from pipelines.media.sample_video import sample_video
from tests.support.product.chromium import Visit, chromium, visiting
from tests.support.product.service import TOKEN
from tests.support.product.serving import MACHINE, Served, serving


# Closed with this folder, or no later test in the same process could run an event loop of its own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


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


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    """Opens tabs, of which none may complain."""
    with visiting(browser, served.url, TOKEN) as visit:
        yield visit


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
