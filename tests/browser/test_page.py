"""The web page as a person meets it, in a real Chromium, over the real API, models and results."""

import re
import time
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from pipelines.analyzers.registry import load_analyzer
from pipelines.records.sinks import write_part
from serve_apps.store.tables import analyses, segments, writing
from tests.browser.conftest import machine, sample
from tests.support.product.chromium import DESKTOP, PHONE, Visit
from tests.support.product.service import TOKEN
from tests.support.product.serving import Served


def test_the_token_is_asked_for_once_and_a_wrong_one_is_told(calm: Served, visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(calm.url)
    expect(page.get_by_role("dialog", name="Your token")).to_be_visible()
    visitor.pictures("token")
    page.get_by_label("Token", exact=True).fill("wrong")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert").filter(has_text="not valid")).to_be_visible()
    visitor.complaints.clear()  # Chromium logs the 401 that was meant
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("checkbox", name="labels")).to_be_checked()
    expect(page.get_by_role("dialog")).to_be_hidden()
    other = visit().page
    other.goto(calm.url)
    expect(other.get_by_role("dialog")).to_be_visible()  # another tab does not inherit it


def test_a_token_in_the_address_leaves_it_at_once(calm: Served, visit: Visit) -> None:
    page = visit().enter()
    assert page.url == f"{calm.url}/"
    page.go_back()
    assert quote(TOKEN) not in page.url


def test_from_a_dropped_file_to_what_is_in_it(calm: Served, visit: Visit) -> None:
    calm.go_on.clear()
    calm.fleet.view["instances"] = [machine(wanted_at=time.time() - 20)]
    visitor = visit()
    page = visitor.enter()
    page.get_by_label("Drop a video").set_input_files(sample())
    expect(page.get_by_role("listitem").filter(has_text="bikes.mp4")).to_be_visible()
    visitor.pictures("chosen")
    expect(page.locator("#chosen")).to_have_text(re.compile("^labels: .+ · scenes: .+"))
    page.get_by_role("checkbox", name="scenes").uncheck()
    page.get_by_role("button", name="Analyse").click()
    expect(page.get_by_role("heading", name="bikes.mp4")).to_have_text("bikes.mp4")
    expect(page.locator(".line")).to_contain_text(re.compile(r"Waiting for \d+ s: no GPU worker yet: bought one"))
    expect(page.get_by_role("progressbar", name="Of the usual wait")).to_be_visible()
    visitor.pictures("wait")
    calm.fleet.view["instances"] = [machine(wanted_at=time.time() - 20, joined=True, phase="a Ray node")]
    calm.go_on.set()
    expect(page.locator(".line")).to_contain_text("Done in", timeout=180_000)
    expect(page.locator(".facts")).to_contain_text("2 of 2 segments · 20 frames · $0.004")
    expect(page.locator(".track.labels")).not_to_have_count(0)
    expect(page.locator(".track.scenes")).to_have_count(0)
    page.get_by_text("What happened, step by step").click()
    story = page.locator(".story li span").all_inner_texts()
    assert story[1] == "cut into 2 segments"
    assert sum(told.endswith("done: 10 frames") for told in story) == 2
    assert story[-1] == "everything is done"


def current_time(page: Page) -> float:
    return float(page.evaluate("document.querySelector('video').currentTime"))


def test_a_click_or_a_key_jumps_in_the_player(calm: Served, finished: str, visit: Visit) -> None:
    page = visit().enter(f"#/analyses/{finished}")
    page.wait_for_function("() => document.querySelector('video')?.readyState > 1")
    page.locator(".card.scenes").get_by_role("button").nth(2).click()
    page.wait_for_function("() => document.querySelector('video').currentTime > 1")
    expect(page.locator(".card.scenes li.now")).to_contain_text("scene 3")
    slider = page.get_by_role("slider", name="Position in the media")
    slider.press("Home")
    page.wait_for_function("() => document.querySelector('video').currentTime === 0")
    slider.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('video').currentTime === 1")
    expect(slider).to_have_attribute("aria-valuetext", "0:01")
    lane = page.locator(".track.scenes .lane").bounding_box()
    assert lane
    page.mouse.click(lane["x"] + lane["width"] / 2, lane["y"] + lane["height"] / 2)
    page.wait_for_function("() => Math.abs(document.querySelector('video').currentTime - 5) < 0.2")


def test_what_was_found_is_searched_and_opened_at_its_moment(calm: Served, finished: str, visit: Visit) -> None:
    visitor = visit()
    page = visitor.enter()
    page.get_by_role("searchbox").fill("where is a streetcar")
    hit = page.locator("#list a").first
    expect(hit).to_contain_text("streetcar")
    expect(hit).to_contain_text("bikes.mp4 · labels")
    visitor.pictures("search")
    hit.click()
    at = float(page.url.rsplit("t=", 1)[1])
    page.wait_for_function(f"() => Math.abs((document.querySelector('video')?.currentTime ?? -1) - {at}) < 0.05")
    page.get_by_role("searchbox").fill("zebra crossing the moon")
    expect(page.locator("#list")).to_contain_text("Nothing was found")


def with_text(served: Served, analysis_id: str) -> None:
    """Add a part of the text analyzer, as a segment of it writes it: one line in the picture's left upper quarter."""
    rows = [
        {"time_s": t / 2, "text": "TAXI", "score": 0.9, "left": 0.1, "top": 0.1, "right": 0.4, "bottom": 0.4}
        for t in range(20)
    ]
    part = write_part(pa.Table.from_pylist(rows), f"{served.storage}/analyses/{analysis_id}/0000/text", 0)
    with writing(served.store.engine) as connection:
        found = served.store.parts(analysis_id)
        parts = {p.analyzer: p.uri for p in found if p.segment_index == 0} | {"text": part}
        first = (segments.c.analysis_id == analysis_id) & (segments.c.segment_index == 0)
        connection.execute(segments.update().where(first).values(parts=parts))
        row = analyses.c.id == analysis_id
        connection.execute(analyses.update().where(row).values(analyzers=["labels", "scenes", "text"]))


def test_boxes_are_drawn_over_the_frame(calm: Served, finished: str, visit: Visit) -> None:
    with_text(calm, finished)
    visitor = visit()
    page = visitor.enter(f"#/analyses/{finished}?m=0&t=3")
    page.wait_for_function("() => document.querySelector('video')?.readyState > 1")
    expect(page.locator("canvas.boxes")).to_have_attribute("data-boxes", "1")
    painted = page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas.boxes");
            const { videoWidth, videoHeight } = document.querySelector("video");
            const scale = Math.min(canvas.width / videoWidth, canvas.height / videoHeight);
            const left = (canvas.width - videoWidth * scale) / 2, top = (canvas.height - videoHeight * scale) / 2;
            const at = (x, y) => canvas.getContext("2d").getImageData(
                Math.round(left + x * videoWidth * scale), Math.round(top + y * videoHeight * scale), 1, 1).data[3];
            return [at(0.4, 0.25), at(0.25, 0.4), at(0.25, 0.25), at(0.7, 0.7)];
        }"""
    )
    assert [alpha > 0 for alpha in painted] == [True, True, False, False]
    visitor.pictures("found")


FOUND: dict[str, list[dict[str, Any]]] = {
    "labels": [
        {"time_s": t, "labels": [{"label": "cab", "score": 0.6}, {"label": "bus", "score": 0.1}]}
        for t in (0, 1, 2.25, 3.25)  # frames are never spaced quite evenly
    ],
    "scenes": [{"time_s": 4.0, "score": 0.9}],
    "objects": [{"time_s": 2.0, "label": "dog", "score": 0.8, "left": 0.5, "top": 0.5, "right": 0.75, "bottom": 1.0}],
    "text": [{"time_s": 2.0, "text": "TAXI", "score": 0.9, "left": 0.0, "top": 0.0, "right": 0.5, "bottom": 0.25}],
    "speech": [{"start_s": 1.0, "end_s": 3.0}],
    "transcript": [{"start_s": 1.0, "end_s": 3.0, "text": "the invoice", "language": "en", "score": 0.7}],
    "safety": [{"time_s": 0.0, "nsfw": 0.1}, {"time_s": 1.0, "nsfw": 0.7}],
    "brightness": [{"time_s": 0.0, "mean": 120.0, "deviation": 30.0}],
}


def test_every_analyzers_records_become_tracks_and_boxes(calm: Served, visit: Visit) -> None:
    """As each analyzer's own schema has them: a column that is called otherwise would be empty here."""
    found = {
        name: pa.Table.from_pylist(rows, schema=load_analyzer(name).schema).to_pylist() for name, rows in FOUND.items()
    }
    page = visit().enter()
    tracks = page.evaluate("async (found) => (await import('/web/tracks.js')).tracksOf(found, 10, true)", found)
    told = {(track["analyzer"], track["name"], track["kind"]): track["spans"] for track in tracks}
    assert set(told) == {
        ("labels", "cab", "seen"),
        ("scenes", "scenes", "scenes"),
        ("objects", "dog", "seen"),
        ("text", "TAXI", "seen"),
        ("speech", "speech", "seen"),
        ("transcript", "transcript", "speech"),
        ("safety", "nsfw", "level"),
        ("brightness", "mean", "level"),
        ("brightness", "deviation", "level"),
    }
    assert [(s["start"], s["end"]) for s in told["labels", "cab", "seen"]] == [(0, 4.25)]
    assert [(s["start"], s["end"]) for s in told["scenes", "scenes", "scenes"]] == [(0, 4), (4, 10)]
    assert [(s["start"], s["end"], s["text"]) for s in told["transcript", "transcript", "speech"]] == [
        (1, 3, "the invoice")
    ]
    assert told["safety", "nsfw", "level"][0]["start"] == 1
    boxes = page.evaluate("async (found) => (await import('/web/tracks.js')).boxesAt(found, 2.2)", found)
    assert [(box["text"], box["box"]) for box in boxes] == [
        ("dog", {"x": 0.5, "y": 0.5, "width": 0.25, "height": 0.5}),
        ("TAXI", {"x": 0, "y": 0, "width": 0.5, "height": 0.25}),
    ]


def test_machines_cost_per_second_and_the_month_is_against_its_budget(calm: Served, visit: Visit) -> None:
    calm.fleet.view["instances"] = [machine(joined=True, phase="a Ray node")]
    scope = {"burn_usd_per_hour": 0.72, "day_usd": 1.0, "month_usd": 12.5}
    limits = {"per_hour_usd": None, "per_day_usd": None, "per_month_usd": 50.0}
    calm.fleet.view["spending"] = {"scopes": {"all clouds": scope}, "limits": {"all clouds": limits}, "warnings": []}
    visitor = visit()
    page = visitor.enter()
    pill = page.get_by_role("button", name="1 machine · $0.000200/s")
    pill.click()
    expect(page.get_by_role("region", name="Machines")).to_contain_text("runpod · aima-test-1")
    expect(page.locator("#spend")).to_have_text("$12.50 of $50 this month")
    assert page.locator("#spend meter").evaluate("meter => meter.value / meter.max") == 0.25
    visitor.pictures("machines")
    assert visitor.overflows(PHONE) == []
    expect(page.locator("#empty-title")).to_have_text("1 machine on, billed by the second")
    calm.fleet.view["instances"] = []
    expect(page.get_by_role("button", name="0 machines · nothing is billed")).to_be_visible()
    expect(page.locator("#empty-title")).to_have_text("Nothing is on, nothing is billed")


def test_a_cut_connection_is_resumed_and_every_event_comes_once(calm: Served, visit: Visit) -> None:
    calm.go_on.clear()
    visitor = visit()
    page = visitor.enter()
    page.get_by_label("or an address").fill(str(sample()))
    page.get_by_role("checkbox", name="scenes").uncheck()
    page.get_by_role("button", name="Analyse").click()
    page.get_by_text("What happened, step by step").click()
    expect(page.locator(".story li")).to_have_count(2)
    with page.expect_request(lambda request: int(request.headers.get("last-event-id", "0")) > 0):
        calm.cut()
    calm.go_on.set()
    expect(page.locator(".line")).to_contain_text("Done in", timeout=180_000)
    expect(page.locator(".story li").last).to_contain_text("everything is done")
    told = page.locator(".story li span").all_inner_texts()
    assert len(told) == len(set(told)), told
    visitor.complaints.clear()  # Chromium logs the requests that broke


def test_a_refusal_names_what_to_mend(calm: Served, visit: Visit) -> None:
    visitor = visit()
    page = visitor.enter()
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator("#new-problem")).to_have_text("Drop a file, or give an address.")
    page.get_by_label("or an address").fill("/no/such/nothing.mp4")
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator("#new-problem")).to_have_text(re.compile(r"^'/no/such/nothing.mp4': not allowed"))
    visitor.pictures("refusal")
    visitor.complaints.clear()  # Chromium logs the 422s that were meant


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it_on_a_phone_too(calm: Served, finished: str, visit: Visit, scheme: Any) -> None:
    for viewport in (DESKTOP, PHONE):
        visitor = visit(viewport, color_scheme=scheme)
        page = visitor.enter()
        page.locator("#list a").first.wait_for()
        barriers = Axe().run(page).response["violations"]
        page.goto(f"{calm.url}/#/analyses/{finished}")
        page.locator(".track").first.wait_for()
        barriers += Axe().run(page).response["violations"]
        assert [f"{b['id']}: {node['target']}" for b in barriers for node in b["nodes"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_the_pages_policy_lets_nothing_in_from_elsewhere(calm: Served, visit: Visit) -> None:
    page = visit().page
    reply = page.goto(calm.url)
    assert reply
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    for name in ("app.js", "style.css", "icon.svg"):
        file = page.request.get(f"{calm.url}/web/{name}")
        assert file.ok
        assert file.headers["content-security-policy"] == policy
    assert page.request.get(f"{calm.url}/web/../api.py").status == 404
    assert page.request.get(f"{calm.url}/web/%2e%2e/api.py").status == 404
