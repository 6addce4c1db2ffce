"""What people see in a terminal."""

import io
from typing import Any

from rich.console import Console

from cluster.client.rendering import print_findings, print_hits


def test_a_hit_shows_what_was_looked_for_and_not_only_the_frames_best_guess() -> None:
    guesses = [{"label": "bus", "score": 0.5}, {"label": "street[car]", "score": 0.3}]
    hit = {"analysis_id": "an_1", "media": "/videos/clip.mp4", "time_s": 6.0, "record": {"labels": guesses}}
    said = io.StringIO()
    print_hits(Console(file=said, width=100), {"terms": ["street"], "hits": [hit]})
    assert said.getvalue().splitlines()[1].split() == ["an_1", "clip.mp4", "6.0", "s", "street[car]"]


def findings(error: str | None, **analyzers: list[dict[str, Any]]) -> str:
    said = io.StringIO()
    print_findings(
        Console(file=said, width=80),
        {"media": [{"uri": "clip.mp4", "error": error, "analyzers": analyzers}], "parts": []},
    )
    return said.getvalue()


def test_of_media_that_could_not_be_read_nothing_is_said_to_be_found() -> None:
    shown = findings("clip.mp4: not a media file", labels=[], scenes=[])
    assert shown.split("\n")[1:] == ["clip.mp4", "failed: clip.mp4: not a media file", ""]


def test_what_was_found_before_the_damage_is_shown() -> None:
    assert "2 scenes, cuts at 1.5 s" in findings("clip.mp4: cut off", labels=[], scenes=[{"time_s": 1.5}])


def test_media_without_a_cut_are_one_scene() -> None:
    assert "1 scene\n" in findings(None, scenes=[])
