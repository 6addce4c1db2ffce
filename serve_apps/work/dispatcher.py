"""Moves work from the database to the models: plan what is new, claim segments, run them, record what came back.

Everything it knows is in the database, under leases. A dispatcher that dies loses its leases, and the next one
carries on; a segment that runs twice writes the same part twice and is counted once.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pipelines import logs
from pipelines.errors import MediaError, MediaUnavailable
from pipelines.media.sampling import Segment
from pipelines.media.sources import MediaInfo
from pipelines.records.sinks import part_name
from pipelines.segments.task import SegmentTask
from serve_apps.analyses import Lane, SegmentState
from serve_apps.monitoring.measures import OUTAGES, Measures, cause_of
from serve_apps.monitoring.traces import Traces, trace_id
from serve_apps.queue.contract import ClaimedSegment, Queue, SegmentKey
from serve_apps.results.worker_access import ResultsElsewhere, WorkerAccess, output_uri
from serve_apps.store.analysis_store import Analysis
from serve_apps.work.dispatch_policy import DispatchPolicy, wanted_workers
from serve_apps.work.planning import LaneOf, Planner, Probe

_log = logging.getLogger(__name__)

RunSegment = Callable[[Mapping[str, Any]], AsyncIterator[Mapping[str, Any]]]
# One key has at most half of them, so that its slow media keep nobody else waiting.
_PLANS_AT_ONCE, _PLANS_OF_ONE_KEY = 8, 4
_SAME_DISK = WorkerAccess()
# What follows the end of work, its records and webhooks, is over by then.
_QUIET_AFTER_S = 15.0


class Dispatcher:
    """One loop; several may run beside each other on one database.

    `run_segment` runs a segment on a worker of its lane.
    """

    def __init__(
        self,
        queue: Queue,
        run_segment: Mapping[Lane, RunSegment],
        probe: Probe,
        policy: DispatchPolicy,
        owner: str,
        lane_of: LaneOf,
        access: WorkerAccess = _SAME_DISK,
        measures: Measures | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._queue, self._run_segment, self._access = queue, run_segment, access
        self._policy, self._owner, self._lane_of = policy, owner, lane_of
        self._measures, self._traces = measures or Measures(), traces or Traces()
        self._planner = Planner(queue, probe, policy, owner, lane_of, access, self._measures, self._traces)
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[SegmentKey, asyncio.Task[None]] = {}
        self._planning: dict[str, tuple[asyncio.Task[None], str]] = {}  # by analysis, with whose key it is
        self._pending = False
        self._busy_until = 0.0

    def wake(self) -> None:
        """Look for work now. Call from the loop's own thread."""
        self._wake.set()

    def wake_from_thread(self, _hint: str = "") -> None:
        """The same from any thread; before the loop runs, nothing is to be woken."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then hand back what is claimed."""
        self._loop = asyncio.get_running_loop()
        renewals = asyncio.create_task(self._renew_leases())
        while not stop.is_set():
            try:
                await self._step()
            except Exception:  # the loop outlives a database that is away for a while
                self._pending = True
                _log.exception("dispatching failed; trying again in %.0f s", self._policy.poll_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause_s())
            self._wake.clear()
        renewals.cancel()
        await self._hand_back()

    def is_quiet(self) -> bool:
        """Whether nothing has been asked for, planned or run for a while. Call from the loop's own thread."""
        return not self._wake.is_set() and asyncio.get_running_loop().time() > self._busy_until + _QUIET_AFTER_S

    def _pause_s(self) -> float:
        busy = self._pending or self._planning or self._running
        if busy:
            self._busy_until = asyncio.get_running_loop().time()
        return self._policy.poll_s if busy else self._policy.idle_poll_s

    async def _step(self) -> None:
        self._pending = False
        await self._plan_some()
        for lane in self._run_segment:
            room = await self._room(lane)
            if room > 0:
                await self._start(lane, room)

    async def _plan_some(self) -> None:
        """Reading headers costs a process each: a burst waits its turn in the database, not here."""
        while len(self._planning) < _PLANS_AT_ONCE:
            keys = Counter(key for _task, key in self._planning.values())
            busy = [key for key, count in keys.items() if count >= _PLANS_OF_ONE_KEY]
            claim = self._queue.claim_unplanned
            claimed = await asyncio.to_thread(claim, self._owner, 1, self._policy.lease_s, busy)
            for analysis in claimed:
                task = asyncio.create_task(self._plan_one(analysis))
                self._planning[analysis.id] = (task, analysis.key_id or "")
            if not claimed:
                return

    async def _start(self, lane: Lane, room: int) -> None:
        claim = self._queue.claim_segments
        for segment in await asyncio.to_thread(claim, self._owner, lane, room, self._policy.lease_s):
            if segment.key not in self._running:  # our own lease may have run out while this machine slept
                self._running[segment.key] = asyncio.create_task(self._run_one(segment))

    async def _room(self, lane: Lane) -> int:
        most_of_one_s = self._policy.limits.workers * self._policy.media_s_per_worker
        pending_s = await asyncio.to_thread(self._queue.pending_media_s, lane, most_of_one_s)
        self._pending |= pending_s > 0
        limit = self._policy.given_at_once(lane, wanted_workers(pending_s, lane, self._policy))
        return limit - sum(key.lane is lane for key in self._running)

    async def _plan_one(self, analysis: Analysis) -> None:
        try:
            await self._planner.plan(analysis)
        finally:
            self._planning.pop(analysis.id, None)
            self.wake()

    async def _run_one(self, segment: ClaimedSegment) -> None:
        with logs.about(**_facts(segment)):
            await self._run(segment)

    async def _run(self, segment: ClaimedSegment) -> None:
        """Run one segment and record its end, whatever it is."""
        _log.info("waits for a worker")
        course, began = self._traces.course(segment), asyncio.get_running_loop().time()
        try:
            sent = await asyncio.to_thread(self._sent, segment)  # signing takes a millisecond for each address
            async for step in self._run_segment[segment.key.lane](sent):
                course.step(step)
                if "report" not in step:
                    self._measures.began(segment.key, segment.key.lane, step["instance"])
                if await asyncio.to_thread(self._record, segment, step) and "report" in step:
                    self._measures.done(segment.key.lane, segment.end_s - segment.start_s, step["busy_s"])
        except asyncio.CancelledError:
            course.failed("stopped")
            raise
        except Exception as error:
            expired = asyncio.get_running_loop().time() - began >= self._policy.access_s
            course.failed(await asyncio.to_thread(self._fail, segment, error, expired))
        finally:
            course.end()
            self._measures.left(segment.key)
            self._running.pop(segment.key, None)
            self.wake()

    def _sent(self, segment: ClaimedSegment) -> dict[str, Any]:
        return self._task(segment).to_dict() | {"about": dict(logs.facts())}

    def _task(self, segment: ClaimedSegment) -> SegmentTask:
        names = tuple(name for name in segment.analyzers if self._lane_of(name) == segment.key.lane)
        output = output_uri(self._policy.storage_uri, segment.analysis_id, segment.media_index)
        part = part_name(segment.segment_index)
        put_urls = {name: self._access.writable(f"{output}/{name}/{part}") for name in names}
        return SegmentTask(
            media_uri=self._access.readable(segment.media_uri),
            segment=Segment(segment.segment_index, segment.start_s, segment.end_s, segment.last),
            info=MediaInfo.from_dict(segment.info),
            analyzers=names,
            output_uri=output,
            options={name: segment.options[name] for name in names if name in segment.options},
            put_urls={name: url for name, url in put_urls.items() if url is not None},
        )

    def _record(self, segment: ClaimedSegment, step: Mapping[str, Any]) -> bool:
        key, owner, instance = segment.key, self._owner, step["instance"]
        if "report" not in step:
            _log.info("its first frame is decoded", extra={"instance": instance})
            return self._queue.first_frame(key, owner, instance)
        if not all(map(self._access.has_come, (step["report"].get("parts") or {}).values())):
            raise ResultsElsewhere
        _log.info("done in %.2f s", step["busy_s"], extra={"instance": instance})
        return self._queue.complete_segment(key, owner, step["report"], instance, step["busy_s"])

    def _fail(self, segment: ClaimedSegment, error: Exception, expired: bool) -> str:
        cause = root_cause(error)
        told = isinstance(cause, MediaError | ResultsElsewhere)  # in words for people
        hopeless = told and not isinstance(cause, MediaUnavailable)
        lines = str(cause).strip().splitlines() or [""]
        message = lines[0] if told else f"{type(cause).__name__}: {lines[0]}"
        again, outage = expired or not hopeless, not hopeless and cause_of(cause) in OUTAGES
        state = self._queue.fail_segment(segment.key, self._owner, message, retryable=again, outage=outage)
        if state is not None:
            final = state is SegmentState.FAILED
            _log.warning("%s: %s", "failed for good" if final else "failed, to be tried again", message)
            self._measures.failed(segment.key.lane, cause_of(cause), final)
        return message

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._policy.lease_s / 3)
            try:
                keys = list(self._running)
                if planning := list(self._planning):
                    await asyncio.to_thread(self._queue.renew_plans, self._owner, planning, self._policy.lease_s)
                if keys:
                    kept = await asyncio.to_thread(self._queue.renew, self._owner, keys, self._policy.lease_s)
                    self._let_go(set(keys) - kept)
            except Exception:
                _log.exception("leases could not be renewed; trying again")

    def _let_go(self, lost: set[SegmentKey]) -> None:
        """Stop the work on segments that were cancelled, or that somebody else has taken over."""
        for key in lost:
            if (task := self._running.get(key)) is not None:
                task.cancel()

    async def _hand_back(self) -> None:
        tasks = [*self._running.values(), *(task for task, _key in self._planning.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._queue.release, self._owner)


def _facts(segment: ClaimedSegment) -> dict[str, str]:
    key, trace = segment.key, trace_id(segment.traceparent)
    facts = {"analysis": key.analysis_id, "segment": f"{key.media_index}/{key.segment_index} {key.lane}"}
    return facts | ({"trace": trace} if trace else {})


def root_cause(error: BaseException) -> BaseException:
    """The exception that a replica raised. Ray wraps it in one of both types whose text is a remote traceback."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return error
