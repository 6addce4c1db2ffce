"""How many frames travel together."""

import pytest

from pipelines.media.decoders.contract import FrameRequest, batch_frames
from pipelines.media.sampling import EveryFrame, FramesPerSecond, Sampling, Segment

SHORT, LONG = Segment(0, 5.0, 15.0), Segment(0, 0.0, 60.0)
SMALL, LARGE = (224, 224), (1080, 1920)


@pytest.mark.parametrize(
    ("wanted", "frames"),
    [
        ([(SHORT, FramesPerSecond(2.0), SMALL)], 21),  # both ends may fall on a frame
        ([(LONG, FramesPerSecond(2.0), SMALL)], 64),
        ([(SHORT, EveryFrame(), SMALL)], 64),
        ([(SHORT, FramesPerSecond(2.0), SMALL), (SHORT, FramesPerSecond(4.0), SMALL)], 41),
        ([(SHORT, FramesPerSecond(2.0), LARGE), (SHORT, EveryFrame(), SMALL)], 2),  # 16 MiB
    ],
)
def test_a_batch_has_room_for_what_is_to_be_expected_and_no_more(
    wanted: list[tuple[Segment, Sampling, tuple[int, int]]], frames: int
) -> None:
    assert batch_frames([FrameRequest(*request) for request in wanted]) == frames
