"""What the dispatcher records of what workers do, and how much it asks of them."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from pipelines.analyzers.registry import lane_of
from pipelines.errors import MediaError, MediaUnavailable
from pipelines.media.sources import MediaInfo
from serve_apps.analyses import AnalysisState, Lane, SegmentState
from serve_apps.queue.contract import ClaimedSegment, Plan, SegmentKey
from serve_apps.results.worker_access import WorkerAccess
from serve_apps.store.analysis_store import Analysis
from serve_apps.work.dispatch_policy import GIVEN_AHEAD, DispatchPolicy, wanted_workers
from serve_apps.work.dispatcher import Dispatcher, root_cause

POLICY = DispatchPolicy(
    storage_uri="/results", max_workers={Lane.GPU: 4}, segments_per_worker={Lane.GPU: 2}, poll_s=0.01
)
SAME_DISK = WorkerAccess()
PARTS = {"labels": "/results/part"}
INFO = MediaInfo(
    "/clip.mp4", "mp4", "h264", 320, 240, rotation_deg=0, duration_s=10.0, average_fps=25.0, has_audio=False
)


def damaged() -> Exception:
    """As it arrives from a replica."""
    error = MediaError("/media/clip.ts", "invalid data", 17.2)
    wrapped: Exception = RayTaskError("handle_request", "Traceback ...", error).as_instanceof_cause()
    return wrapped


def segment(index: int) -> ClaimedSegment:
    key = SegmentKey("an_1", 0, index)
    return ClaimedSegment(key, "/clip.mp4", INFO.to_dict(), ("labels",), {}, index * 5.0, index * 5.0 + 5.0, False, 0)


class OneAnalysis:
    """A queue with some segments, each claimed once, that writes down what it is told."""

    def __init__(self, segments: int, stop: asyncio.Event) -> None:
        self.waiting = [segment(index) for index in range(segments)]
        self.left, self.stop = segments, stop
        self.told: list[tuple[Any, ...]] = []
        self.most_at_once = self.at_once = 0

    def claim_unplanned(
        self, owner: str, limit: int, lease_s: float, busy_keys: Sequence[str] = ()
    ) -> Sequence[Analysis]:
        return []

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        raise AssertionError("nothing is to be planned")

    def renew_plans(self, owner: str, ids: Sequence[str], lease_s: float) -> None:
        self.told.append(("planning", *ids))

    def plan_later(self, analysis_id: str, owner: str, error: str) -> bool:
        raise AssertionError("nothing is to be planned")

    def claim_segments(self, owner: str, lane: Lane, limit: int, lease_s: float) -> Sequence[ClaimedSegment]:
        claimed, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.at_once += len(claimed)
        self.most_at_once = max(self.most_at_once, self.at_once)
        return claimed

    def renew(self, owner: str, keys: Sequence[SegmentKey], lease_s: float) -> set[SegmentKey]:
        return set(keys)

    def first_frame(self, key: SegmentKey, owner: str, instance: str) -> bool:
        self.told.append(("first frame", key.segment_index, instance))
        return True

    def complete_segment(
        self, key: SegmentKey, owner: str, report: Mapping[str, Any], instance: str, busy_s: float
    ) -> bool:
        return self._over("done", key.segment_index, report, instance, busy_s)

    def fail_segment(
        self, key: SegmentKey, owner: str, error: str, retryable: bool, outage: bool = False
    ) -> SegmentState | None:
        self._over("failed", key.segment_index, error, retryable, outage)
        return SegmentState.FAILED

    def release(self, owner: str) -> int:
        self.told.append(("released",))
        return 0

    def pending_media_s(self, lane: Lane, most_of_one_s: float = math.inf) -> float:
        return self.left * 5.0

    def _over(self, *what: Any) -> bool:
        self.told.append(what)
        self.left -= 1
        self.at_once -= 1
        if not self.left:
            self.stop.set()
        return True


class Workers:
    """Segment 0 is damaged, segment 1's worker dies, the others are done."""

    def __init__(self) -> None:
        self.tasks: list[Mapping[str, Any]] = []

    async def run(self, task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        self.tasks.append(task)
        index = task["segment"]["index"]
        yield {"instance": "w"}
        await asyncio.sleep(0)
        if index == 0:
            raise damaged()
        if index == 1:
            raise ActorDiedError
        yield {"report": {"frames": 5, "parts": PARTS}, "instance": "w", "busy_s": 0.5}


def dispatch(
    segments: int, policy: DispatchPolicy = POLICY, access: WorkerAccess = SAME_DISK
) -> tuple[OneAnalysis, Workers]:
    async def work() -> tuple[OneAnalysis, Workers]:
        stop = asyncio.Event()
        queue, workers = OneAnalysis(segments, stop), Workers()
        runs, lane_of = {Lane.GPU: workers.run}, lambda _name: "gpu"
        dispatcher = Dispatcher(queue, runs, lambda _uri: INFO, policy, "me", lane_of, access)
        await dispatcher.run(stop)
        return queue, workers

    return asyncio.run(work())


def test_everything_that_happens_is_recorded_and_the_rest_handed_back() -> None:
    queue, workers = dispatch(3)
    assert ("first frame", 2, "w") in queue.told
    assert ("done", 2, {"frames": 5, "parts": PARTS}, "w", 0.5) in queue.told
    assert queue.told[-1] == ("released",)
    assert workers.tasks[0]["output_uri"] == "/results/analyses/an_1/0000"


def test_a_lease_that_ran_out_unnoticed_does_not_start_its_segment_twice() -> None:
    """The machine slept, or its clock was set: this dispatcher gets its own segments again."""

    async def work() -> int:
        stop, go_on, begun = asyncio.Event(), asyncio.Event(), []

        async def run(task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
            begun.append(task)
            await go_on.wait()
            yield {"report": {"frames": 5}, "instance": "w", "busy_s": 0.5}

        queue = OneAnalysis(1, stop)
        again = list(queue.waiting)
        dispatcher = Dispatcher(queue, {Lane.GPU: run}, lambda _uri: INFO, POLICY, "me", lambda _name: "gpu")
        await dispatcher._step()
        await asyncio.sleep(0)
        queue.waiting = again
        await dispatcher._step()
        await asyncio.sleep(0)
        go_on.set()
        await dispatcher.run(stop)
        return len(begun)

    assert asyncio.run(work()) == 1


def test_damage_is_told_in_its_own_words_and_not_tried_again() -> None:
    queue, _workers = dispatch(3)
    assert ("failed", 0, "clip.ts: invalid data (at 17.200 s)", False, False) in queue.told


def test_a_failure_after_its_access_has_ended_is_tried_again_with_new_access() -> None:
    queue, _workers = dispatch(3, replace(POLICY, access_s=0.0))
    assert ("failed", 0, "clip.ts: invalid data (at 17.200 s)", True, False) in queue.told


def test_a_worker_is_handed_access_to_its_media_and_to_each_of_its_parts() -> None:
    access = WorkerAccess(lambda uri: f"https://store{uri}?signed", lambda uri: f"https://store{uri}?signed")
    _queue, workers = dispatch(1, access=access)
    (task,) = workers.tasks
    assert task["media_uri"] == "https://store/clip.mp4?signed"
    part = "/results/analyses/an_1/0000/labels/part-00000.parquet"
    assert task["put_urls"] == {"labels": f"https://store{part}?signed"}


def test_results_that_stayed_on_another_machine_are_a_failure_with_a_way_out() -> None:
    queue, _workers = dispatch(3, access=WorkerAccess(has_come=lambda _uri: False))
    ((_failed, _index, error, retryable, _outage),) = [told for told in queue.told if told[:2] == ("failed", 2)]
    assert "storage_uri to s3://" in error
    assert not retryable


def test_a_workers_death_is_tried_again() -> None:
    queue, _workers = dispatch(3)
    ((_failed, _index, error, retryable, outage),) = [told for told in queue.told if told[:2] == ("failed", 1)]
    assert retryable
    assert not outage
    assert error.startswith("ActorDiedError: ")


def test_a_full_disk_is_an_outage_that_is_nobodys_attempt() -> None:
    async def work() -> OneAnalysis:
        async def run(_task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
            yield {"instance": "w"}
            raise RayTaskError("analyze", "Traceback ...", OSError(28, "No space left on device")).as_instanceof_cause()

        stop = asyncio.Event()
        queue = OneAnalysis(1, stop)
        dispatcher = Dispatcher(queue, {Lane.GPU: run}, lambda _uri: INFO, POLICY, "me", lambda _name: "gpu")
        await dispatcher.run(stop)
        return queue

    assert ("failed", 0, "OSError: [Errno 28] No space left on device", True, True) in asyncio.run(work()).told


def test_media_that_cannot_be_had_for_now_are_an_outage_told_in_their_words() -> None:
    async def work() -> OneAnalysis:
        async def run(_task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
            yield {"instance": "w"}
            busy = MediaUnavailable("https://store/a.mp4?signed", "the server answers 503 Slow Down")
            raise RayTaskError("analyze", "Traceback ...", busy).as_instanceof_cause()

        queue = OneAnalysis(1, stop := asyncio.Event())
        await Dispatcher(queue, {Lane.GPU: run}, lambda _uri: INFO, POLICY, "me", lambda _name: "gpu").run(stop)
        return queue

    assert ("failed", 0, "a.mp4: the server answers 503 Slow Down", True, True) in asyncio.run(work()).told


def test_one_worker_is_never_given_more_than_its_share_and_the_next() -> None:
    queue, _workers = dispatch(20)
    assert queue.most_at_once == POLICY.segments_per_worker[Lane.GPU] + GIVEN_AHEAD
    assert POLICY.given_at_once(Lane.GPU, 3) == 9


@pytest.mark.parametrize(
    ("pending_s", "workers"), [(0.0, 0), (0.1, 1), (300.0, 1), (300.1, 2), (1200.0, 4), (90_000.0, 4)]
)
def test_another_worker_only_when_it_has_enough_to_do(pending_s: float, workers: int) -> None:
    assert wanted_workers(pending_s, Lane.GPU, POLICY) == workers
    assert wanted_workers(pending_s, Lane.CPU, POLICY) == 0


class Planning(OneAnalysis):
    """A queue with one analysis to be planned, that writes down what comes of it."""

    def __init__(self, analyzers: tuple[str, ...], stop: asyncio.Event) -> None:
        super().__init__(0, stop)
        self.patience = 2
        self.unplanned = [Analysis("an_1", 0.0, AnalysisState.QUEUED, ("/media/a",), analyzers, "")]

    def claim_unplanned(
        self, owner: str, limit: int, lease_s: float, busy_keys: Sequence[str] = ()
    ) -> Sequence[Analysis]:
        claimed, self.unplanned = self.unplanned, []
        return claimed

    def plan_later(self, analysis_id: str, owner: str, error: str) -> bool:
        self.told.append(("later", owner, error))
        self.patience -= 1
        if self.patience > 0:
            self.stop.set()
        return self.patience > 0

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        self.told += [(lane.value, len(segments)) for media in plan for lane, segments in media.items()]
        self.told += [(info["error"], info["uri"]) for info in infos if "error" in info]
        self.stop.set()
        return True


@pytest.mark.parametrize(
    ("kind", "analyzers", "told"),
    [
        ("video", ("labels", "transcript"), [("gpu", 1), ("cpu", 1)]),
        ("audio", ("transcript",), [("cpu", 1)]),
        ("picture", ("labels", "scenes", "transcript"), [("gpu", 1)]),
        (
            "audio",
            ("labels", "transcript"),
            [
                (
                    "a: labels cannot analyse this file: it has no picture; choose speech or transcript instead",
                    "/media/a",
                )
            ],
        ),
        (
            "picture",
            ("scenes",),
            [
                (
                    "a: scenes cannot analyse this file: it is one still picture; choose labels or text instead",
                    "/media/a",
                )
            ],
        ),
    ],
)
def test_machines_are_bought_only_for_what_media_can_give(
    kind: Any, analyzers: tuple[str, ...], told: list[tuple[Any, ...]]
) -> None:
    async def work() -> list[tuple[Any, ...]]:
        queue = Planning(analyzers, stop := asyncio.Event())
        info = replace(INFO, uri="/media/a", kind=kind)
        lanes = {Lane.GPU: Workers().run, Lane.CPU: Workers().run}
        await Dispatcher(queue, lanes, lambda _uri: info, POLICY, "me", lane_of).run(stop)
        return queue.told[:-1]

    assert asyncio.run(work()) == told


@pytest.mark.parametrize(
    ("earlier", "told", "read"),
    [
        (None, [("gpu", 1), ("b: is empty", "/b")], ["/a", "/b"]),
        ([INFO.to_dict() | {"uri": "/a"}, {"uri": "/b", "error": "b: is empty"}], [("b: is empty", "/b")], ["/b"]),
    ],
    ids=["first try", "another try"],
)
def test_an_item_that_cannot_be_read_keeps_nobody_from_the_others(
    earlier: Any, told: list[tuple[Any, ...]], read: list[str]
) -> None:
    async def work() -> tuple[list[tuple[Any, ...]], list[str]]:
        queue, seen = Planning(("labels",), stop := asyncio.Event()), list[str]()
        queue.unplanned = [replace(queue.unplanned[0], media=("/a", "/b"), info=earlier)]

        def probe(uri: str) -> MediaInfo:
            seen.append(uri)
            if uri == "/b":
                raise MediaError(f"https://store{uri}?signed", "is empty")
            return INFO

        await Dispatcher(queue, {Lane.GPU: Workers().run}, probe, POLICY, "me", lane_of).run(stop)
        return queue.told[:-1], seen

    planned, seen = asyncio.run(work())
    assert (planned, sorted(seen)) == (told, read)  # side by side


@pytest.mark.parametrize(
    ("patience", "told"),
    [
        (2, [("later", "me", "b: the server answers 503")]),
        (1, [("later", "me", "b: the server answers 503"), ("gpu", 1), ("b: the server answers 503", "/b")]),
    ],
)
def test_media_that_cannot_be_had_for_now_are_planned_later_as_long_as_there_is_patience(
    patience: int, told: list[tuple[Any, ...]]
) -> None:
    async def work() -> list[tuple[Any, ...]]:
        queue = Planning(("labels",), stop := asyncio.Event())
        queue.patience = patience
        queue.unplanned = [replace(queue.unplanned[0], media=("/a", "/b"))]

        def probe(uri: str) -> MediaInfo:
            if uri == "/b":
                raise MediaUnavailable(f"https://store{uri}?signed", "the server answers 503")
            return INFO

        await Dispatcher(queue, {Lane.GPU: Workers().run}, probe, POLICY, "me", lane_of).run(stop)
        return queue.told[:-1]

    assert asyncio.run(work()) == told


def test_an_error_of_ours_is_its_own_root() -> None:
    error = ValueError("x")
    assert root_cause(error) is error
    assert isinstance(root_cause(damaged()), MediaError)


@pytest.mark.parametrize(("left", "pause_s"), [(0, 3600.0), (1, 0.01)])
def test_without_work_it_looks_rarely_and_with_work_often(left: int, pause_s: float) -> None:
    """Work that cannot be claimed yet counts as work."""

    async def work() -> float:
        stop = asyncio.Event()
        queue = OneAnalysis(0, stop)
        queue.left = left
        policy = replace(POLICY, idle_poll_s=3600.0)
        dispatcher = Dispatcher(queue, {Lane.GPU: Workers().run}, lambda _uri: INFO, policy, "me", lambda _name: "gpu")
        stop.set()
        await dispatcher._step()
        return dispatcher._pause_s()

    assert asyncio.run(work()) == pause_s


@pytest.mark.parametrize(("left", "later_s", "is_quiet"), [(1, 1.0, False), (1, 60.0, True), (0, 60.0, True)])
def test_it_is_quiet_some_time_after_the_last_work(
    left: int, later_s: float, is_quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> tuple[bool, bool]:
        queue = OneAnalysis(0, asyncio.Event())
        queue.left = left
        dispatcher = Dispatcher(queue, {Lane.GPU: Workers().run}, lambda _uri: INFO, POLICY, "me", lambda _name: "gpu")
        await dispatcher._step()
        dispatcher._pause_s()
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + later_s)
        was = dispatcher.is_quiet()
        dispatcher.wake()
        return was, dispatcher.is_quiet()

    assert asyncio.run(work()) == (is_quiet, False)


class Requests(OneAnalysis):
    """A queue with analyses of several keys to be planned, in this order."""

    def __init__(self, keys: Sequence[str], stop: asyncio.Event) -> None:
        super().__init__(0, stop)
        self.renewed: set[str] = set()
        first = Analysis("an_0", 0.0, AnalysisState.QUEUED, ("/slow",), ("labels",), "")
        self.unplanned = [
            replace(first, id=f"an_{n}", key_id=key, media=(f"/{key}/{n}",)) for n, key in enumerate(keys)
        ]

    def claim_unplanned(
        self, owner: str, limit: int, lease_s: float, busy_keys: Sequence[str] = ()
    ) -> Sequence[Analysis]:
        found = [analysis for analysis in self.unplanned if analysis.key_id not in busy_keys][:limit]
        self.unplanned = [analysis for analysis in self.unplanned if analysis not in found]
        return found

    def renew_plans(self, owner: str, ids: Sequence[str], lease_s: float) -> None:
        self.renewed |= set(ids)

    def plan(self, analysis_id: str, infos: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        self.told.append((analysis_id, *(str(info.get("error", "")) for info in infos)))
        return True


def test_slow_media_of_one_key_keep_no_other_waiting_and_their_lease_is_renewed() -> None:
    go_on = threading.Event()

    def probe(uri: str) -> MediaInfo:
        if uri.startswith("/slow"):
            assert go_on.wait(20)
        return INFO

    async def work() -> None:
        queue = Requests(["slow"] * 20 + ["quick"], stop := asyncio.Event())
        policy = replace(POLICY, lease_s=0.03)
        dispatching = asyncio.create_task(
            Dispatcher(queue, {Lane.GPU: Workers().run}, probe, policy, "me", lane_of).run(stop)
        )
        await until(lambda: ("an_20", "") in queue.told and "an_0" in queue.renewed)
        assert [one for one in queue.told if one != ("an_20", "")] == []
        go_on.set()
        await until(lambda: len(queue.told) == 21)
        stop.set()
        await dispatching

    asyncio.run(work())


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("duration_s", "media", "words"),
    [
        (1e7, 1, "is 10000000 s long; at most 86400 s are analysed"),
        (math.inf, 1, "is inf s long"),
        (80_000.0, 20, "segments; at most 20000 may be asked for"),
    ],
)
def test_claims_buy_nothing_beyond_the_limits(duration_s: float, media: int, words: str) -> None:
    async def work() -> list[tuple[Any, ...]]:
        queue = Planning(("labels",), stop := asyncio.Event())
        queue.unplanned = [replace(queue.unplanned[0], media=("/a",) * media)]
        info = replace(INFO, duration_s=duration_s)
        await Dispatcher(queue, {Lane.GPU: Workers().run}, lambda _uri: info, POLICY, "me", lane_of).run(stop)
        return queue.told[:-1]

    told = asyncio.run(work())
    assert len(told) == media
    assert all(words in str(error) for error, _uri in told)
