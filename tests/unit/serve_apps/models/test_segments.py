"""What a replica works on at once, and what it keeps waiting."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("av")

from pipelines.media.sampling import Segment
from pipelines.media.sources import MediaInfo
from pipelines.segments.task import SegmentReport, SegmentTask
from serve_apps.models import segments
from serve_apps.models.segments import SegmentModel

INFO = MediaInfo("a", "mp4", "h264", 320, 240, rotation_deg=0, duration_s=1.0, average_fps=25.0, has_audio=False)


class Gated:
    """In the place of the models: each segment waits to be told that only writing is left, then for the end of that."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.last_frame = [threading.Event() for _ in range(4)]
        self.written = [threading.Event() for _ in range(4)]

    def run(
        self, task: SegmentTask, on_first_frame: Callable[[], None], on_last_frame: Callable[[], None]
    ) -> SegmentReport:
        number = task.segment.index
        self.begun.append(number)
        on_first_frame()
        assert self.last_frame[number].wait(30)
        on_last_frame()
        assert self.written[number].wait(30)
        return SegmentReport(number, 0, {}, {}, 0.0, "none")


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Gated:
    gated = Gated()
    monkeypatch.setattr(segments, "SegmentAnalyzer", lambda **_options: gated)
    monkeypatch.setattr(segments, "announce", lambda _what: None)
    monkeypatch.setattr("pipelines.logs.configure", lambda *_where: None)
    return gated


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():
            await asyncio.sleep(0.005)


async def settled() -> None:
    """What could begin by now has begun: threads are taken in order."""
    for _ in range(5):
        await asyncio.to_thread(int)


async def asked(model: SegmentModel, number: int) -> dict[str, Any]:
    """The last thing that a request for a segment is told."""
    task = SegmentTask("a", Segment(number, 0.0, 1.0, last=True), INFO, ("labels",), "o")
    return [step async for step in model.analyze(task.to_dict())][-1]


def in_replica(test: Callable[[SegmentModel], Awaitable[None]]) -> None:
    async def run() -> None:
        await test(SegmentModel(at_once=1))

    asyncio.run(run())


def test_the_next_segment_begins_while_the_last_is_written(gated: Gated) -> None:
    async def test(model: SegmentModel) -> None:
        first, second = (asyncio.create_task(asked(model, number)) for number in (0, 1))
        await until(lambda: gated.begun == [0])
        await settled()
        assert gated.begun == [0]
        gated.last_frame[0].set()
        await until(lambda: gated.begun == [0, 1])
        assert not first.done()
        third = asyncio.create_task(asked(model, 2))
        gated.written[0].set()
        assert (await first)["report"]["segment_index"] == 0
        await settled()
        assert gated.begun == [0, 1], "a turn is given back once only"
        for number in (1, 2):
            gated.last_frame[number].set()
            gated.written[number].set()
        assert [(await one)["report"]["segment_index"] for one in (second, third)] == [1, 2]

    in_replica(test)


def test_a_waiting_segment_that_nobody_wants_any_more_never_begins(gated: Gated) -> None:
    async def test(model: SegmentModel) -> None:
        first = asyncio.create_task(asked(model, 0))
        await until(lambda: gated.begun == [0])
        unwanted, wanted = (asyncio.create_task(asked(model, number)) for number in (1, 2))
        await settled()  # both wait
        unwanted.cancel()
        for number in (0, 2):
            gated.last_frame[number].set()
            gated.written[number].set()
        await first
        await wanted
        assert gated.begun == [0, 2]

    in_replica(test)


def test_what_is_running_keeps_its_turn_when_nobody_wants_it_any_more(gated: Gated) -> None:
    async def test(model: SegmentModel) -> None:
        first = asyncio.create_task(asked(model, 0))
        await until(lambda: gated.begun == [0])
        second = asyncio.create_task(asked(model, 1))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await settled()
        assert gated.begun == [0], "its thread still works"
        for gate in (gated.last_frame[0], gated.written[0], gated.last_frame[1], gated.written[1]):
            gate.set()
        assert (await second)["report"]["segment_index"] == 1

    in_replica(test)
