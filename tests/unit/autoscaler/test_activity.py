"""What Ray says of a busy node, in words for people."""

import pytest

from autoscaler.fleet.node_activity import describe_reasons

BUSY = "Busy workers on node."


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ((), ""),
        (("Resource: CPU currently in use.", "Resource: GPU currently in use.", BUSY), "CPU and GPU in use"),
        ((BUSY,), "work without resources of its own"),
        (("a forgotten object",), "a forgotten object"),
        (("Resource: GPU currently in use.", "an object."), "GPU in use; an object"),
    ],
)
def test_reasons_become_one_phrase(reasons: tuple[str, ...], words: str) -> None:
    assert describe_reasons(reasons) == words
