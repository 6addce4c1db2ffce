"""A part's making: what it depends on, and what it says of itself."""

from dataclasses import replace

import pytest

from pipelines.media.sampling import Segment
from pipelines.records.provenance import PartOrigin

ORIGIN = PartOrigin("https://host/a.mp4?signature=secret", Segment(1, 60.0, 120.0), "labels", "1:x", {"fps": 2})


def test_a_new_signature_changes_nothing() -> None:
    assert replace(ORIGIN, media_uri="https://host/a.mp4?signature=other").digest == ORIGIN.digest
    assert "secret" not in str(ORIGIN.metadata(3, "pyav", True))


@pytest.mark.parametrize(
    "change",
    [
        {"media_uri": "https://host/b.mp4"},
        {"segment": Segment(1, 60.0, 121.0)},
        {"analyzer": "scenes"},
        {"version": "2:x"},
        {"options": {"fps": 3}},
        {"sampling": "keyframes"},
    ],
)
def test_all_else_does(change: dict[str, object]) -> None:
    assert replace(ORIGIN, **change).digest != ORIGIN.digest  # type: ignore[arg-type]


def test_only_what_is_finished_bears_the_mark() -> None:
    assert ORIGIN.metadata(3, "pyav", finished=True)["task"] == ORIGIN.digest
    unfinished = ORIGIN.metadata(3, "pyav", finished=False)
    assert "task" not in unfinished
    assert unfinished["options"] == '{"fps": 2}'
