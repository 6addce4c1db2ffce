"""What people see in a terminal."""

import io

from rich.console import Console

from cluster.views import print_hits


def test_a_hit_shows_what_was_looked_for_and_not_only_the_frames_best_guess() -> None:
    guesses = [{"label": "bus", "score": 0.5}, {"label": "street[car]", "score": 0.3}]
    hit = {"analysis_id": "an_1", "media": "/videos/clip.mp4", "time_s": 6.0, "record": {"labels": guesses}}
    said = io.StringIO()
    print_hits(Console(file=said, width=100), {"terms": ["street"], "hits": [hit]})
    assert said.getvalue().splitlines()[1].split() == ["an_1", "clip.mp4", "6.0", "s", "street[car]"]
