"""The web page over a whole cluster: a film is dropped, workers come, analyse it for real, and leave again."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.conftest import Running
from tests.support.product.chromium import PHONE, Visit, chromium, visiting
from tests.support.samples.film import NAMES, NOTICE, NOTICE_SCENE, SCENE_S, SCENES, SENTENCE, film

_ANALYSED_MS = 300_000
# Everything that the page says in these places, also what stands there for a moment only.
_LISTEN = """() => {
    const places = { line: ".line", facts: ".facts", percent: ".progress progress:not(.usual):not([hidden])" };
    window.said = { line: [], facts: [], percent: [] };
    const listen = () => {
        for (const [name, place] of Object.entries(places)) {
            const shown = document.querySelector(place);
            const text = shown?.value ?? shown?.textContent;
            if (shown && window.said[name].at(-1) !== text) window.said[name].push(text);
        }
    };
    const everything = { subtree: true, childList: true, characterData: true, attributes: true };
    new MutationObserver(listen).observe(document.body, everything);
}"""
_DROP = """(carrier) => {
    const dataTransfer = new DataTransfer();
    for (const file of carrier.files) dataTransfer.items.add(file);
    carrier.remove();
    const how = { dataTransfer, bubbles: true, cancelable: true };
    const there = document.querySelector("#drop");
    for (const name of ["dragenter", "dragover", "drop"]) there.dispatchEvent(new DragEvent(name, how));
}"""
_PAINTED = """() => {
    const canvas = document.querySelector("canvas.boxes");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0);
}"""


# Closed with this module, or no later test in the same process could run an event loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, at_zero: Running) -> Iterator[Visit]:
    with visiting(browser, at_zero.card.api_url, at_zero.state.token("api")) as visit:
        yield visit


def drop(page: Page, path: Path) -> None:
    """Let go of a file over the page, as the hand does."""
    carrier: Any = page.evaluate_handle("""() => {
        const input = Object.assign(document.createElement("input"), { type: "file" });
        document.body.append(input);
        return input;
    }""").as_element()
    carrier.set_input_files(path)
    page.evaluate(_DROP, carrier)


def shows(page: Page, time_s: float) -> None:
    page.wait_for_function(f"() => Math.abs((document.querySelector('video')?.currentTime ?? -1) - {time_s}) < 0.3")


def test_a_dropped_film_is_waited_for_analysed_shown_and_leaves_no_machine(
    at_zero: Running, visit: Visit, tmp_path: Path
) -> None:
    before = len(at_zero.instances())
    visitor = visit()
    page = visitor.enter()
    drop(page, film(tmp_path))
    expect(page.locator("#files")).to_contain_text("film.mp4")
    for name in ("text", "transcript"):
        page.get_by_role("checkbox", name=name, exact=True).check()
    page.evaluate(_LISTEN)
    page.get_by_role("button", name="Analyse").click()

    the_wait_is_explained(page)
    visitor.pictures("cluster-wait")
    assert visitor.overflows(PHONE) == []
    expect(page.locator(".line")).to_contain_text("Done in", timeout=_ANALYSED_MS)
    progress_was_told(page.evaluate("window.said"))
    what_was_found_is_shown(page)
    clicks_jump_and_boxes_are_drawn(page)
    visitor.pictures("cluster-result")

    at_zero.wait_for_zero()
    assert len(at_zero.instances()) - before == 2  # one for each lane
    expect(page.get_by_role("button", name="0 machines · nothing is billed")).to_be_visible()


def the_wait_is_explained(page: Page) -> None:
    expect(page.get_by_role("heading", name="film.mp4")).to_be_visible()
    expect(page.locator(".line")).to_contain_text(re.compile(r"Waiting for .*: .*worker.*local"))
    expect(page.locator("#fleet-line")).to_contain_text(re.compile(r"[12] machines? · \$0\.000[12]00/s"))
    page.locator("#fleet-button").click()
    machines = page.get_by_role("region", name="Machines")
    expect(machines).to_contain_text(re.compile(r"local · .*\$0\.000100/s", re.DOTALL))


def progress_was_told(said: dict[str, list[Any]]) -> None:
    """Each of two lanes looks at three segments."""
    done = {int(found[1]) for facts in said["facts"] if (found := re.search(r"(\d) of 6 segments", facts))}
    assert {0, 6} < done, said
    assert any(0 < percent < 100 for percent in said["percent"]), said


def what_was_found_is_shown(page: Page) -> None:
    expect(page.locator(".track.scenes .span")).to_have_count(len(SCENES))
    for fitting in NAMES:  # segments end in any order
        one_of_them = re.compile(rf"^\s*({'|'.join(map(re.escape, fitting))})\s*$")
        expect(page.locator(".track.labels .name").filter(has_text=one_of_them)).not_to_have_count(0)
    expect(page.locator(".track.text .name").filter(has_text=NOTICE)).to_have_count(1)
    expect(page.locator(".card.transcript li")).not_to_have_count(0)
    heard = " ".join(page.locator(".card.transcript li").all_inner_texts()).lower()
    assert sum(word in heard for word in SENTENCE.lower().strip(".").split()) >= 8, heard
    expect(page.locator(".facts")).to_contain_text(re.compile(r"\$0\.0\d+ \(\$.* per minute of media"))
    expect(page.locator("#spend")).to_contain_text("of $300 this month")


def clicks_jump_and_boxes_are_drawn(page: Page) -> None:
    page.wait_for_function("() => document.querySelector('video')?.readyState > 1")
    page.locator(".card.scenes").get_by_role("button").nth(2).click()
    shows(page, 2 * SCENE_S)
    boxes = page.locator("canvas.boxes")
    expect(boxes).to_have_attribute("data-boxes", "0")
    lane = page.locator(".track.text .lane").first.bounding_box()
    assert lane
    middle_s = (NOTICE_SCENE + 0.5) * SCENE_S
    share = middle_s / (len(SCENES) * SCENE_S)
    page.mouse.click(lane["x"] + lane["width"] * share, lane["y"] + lane["height"] / 2)
    shows(page, middle_s)
    expect(boxes).not_to_have_attribute("data-boxes", "0")
    assert page.evaluate(_PAINTED)
