"""From a new analysis to its segments: headers are read in processes and threads of their own, and limits are kept."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines import logs
from pipelines.errors import MediaError, MediaUnavailable
from pipelines.media.sampling import Segment, plan_segments
from pipelines.media.sources import MediaInfo
from pipelines.segments.applicability import applicable
from serve_apps.analyses import Lane
from serve_apps.monitoring.measures import Measures, cause_of
from serve_apps.monitoring.traces import Traces
from serve_apps.queue.contract import Queue
from serve_apps.results.worker_access import WorkerAccess
from serve_apps.store.analysis_store import Analysis
from serve_apps.work.dispatch_policy import DispatchPolicy
from serve_apps.work.fair_pool import FairPool

_log = logging.getLogger(__name__)

Probe = Callable[[str], MediaInfo]
LaneOf = Callable[[str], str]
# A media item's header, and its segments by lane.
Cut = tuple[Mapping[str, Any], Mapping[Lane, Sequence[Segment]]]
_PROBES_AT_ONCE, _OF_ONE_KEY = 6, 3


class Planner:
    """Plans one analysis at a time for whoever calls; the media of all of them take turns, by key."""

    def __init__(
        self,
        queue: Queue,
        probe: Probe,
        policy: DispatchPolicy,
        owner: str,
        lane_of: LaneOf,
        access: WorkerAccess,
        measures: Measures,
        traces: Traces,
    ) -> None:
        self._queue, self._probe, self._policy, self._owner = queue, probe, policy, owner
        self._lane_of, self._access, self._measures, self._traces = lane_of, access, measures, traces
        self._pool = FairPool(_PROBES_AT_ONCE, _OF_ONE_KEY, "planning")

    async def plan(self, analysis: Analysis) -> None:
        """Read the headers, cut the media into segments, and write them down; whatever goes wrong is written too."""
        began_at = self._traces.now()
        with logs.about(analysis=analysis.id):
            error = await self._plan(analysis)
        self._traces.planned(analysis.traceparent or "", analysis.id, analysis.created_at, began_at, error)

    async def _plan(self, analysis: Analysis, patient: bool = True) -> str:
        """What went wrong, or "". What cannot be read fails here, before a machine is bought; what cannot be had for
        now is planned later, as long as the queue has patience."""
        try:
            cuts = await self._cut_all(analysis, patient)
            infos, plans = [info for info, _plan in cuts], [plan for _info, plan in cuts]
            if await asyncio.to_thread(self._queue.plan, analysis.id, infos, plans):
                _log.info("cut into %d segments", sum(len(s) for plan in plans for s in plan.values()))
        except MediaUnavailable as error:
            self._measures.erred("plan", cause_of(error))
            if not await asyncio.to_thread(self._queue.plan_later, analysis.id, self._owner, str(error)):
                return await self._plan(analysis, patient=False)
            _log.warning("to be planned later: %s", error)
            return str(error)
        except Exception as error:
            self._measures.erred("plan", cause_of(error))
            _log.exception("planning failed; its lease runs out and it is planned again")
            return type(error).__name__
        return "; ".join(str(info["error"]) for info in infos if "error" in info)

    async def _cut_all(self, analysis: Analysis, patient: bool) -> list[Cut]:
        """All media items, side by side. Raises MediaUnavailable if `patient`."""
        tasks = []
        for index, uri in enumerate(analysis.media):
            earlier = analysis.info[index] if analysis.info else {"error": "not read yet"}
            tasks.append(asyncio.create_task(self._cut_or_keep(analysis, uri, earlier, patient)))
        try:
            cuts = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return self._within_limits(cuts)

    async def _cut_or_keep(self, analysis: Analysis, uri: str, earlier: Mapping[str, Any], patient: bool) -> Cut:
        if "error" not in earlier:
            return earlier, {}
        return await self._pool.run(analysis.key_id or "", lambda: self._cut(uri, analysis.analyzers, patient))

    def _cut(self, uri: str, analyzers: Sequence[str], patient: bool) -> Cut:
        """A media item's header and its segments by lane, or why there are none: it cannot be read, or not by what was
        asked for (see `applicable`). Raises MediaUnavailable if `patient`."""
        try:
            info = self._probe(self._access.readable(uri))
            fits, misfit = applicable(info, analyzers)
            if misfit:
                raise misfit
            self._check_duration(info)
        except MediaError as error:
            if patient and isinstance(error, MediaUnavailable):
                raise
            self._measures.erred("plan", cause_of(error))
            _log.warning("fails before anything is bought: %s", error)
            # Not the error's own URI: that may be presigned, and is a secret then.
            return {"uri": uri, "error": str(error)}, {}
        segments = plan_segments(info.duration_s, self._policy.segment_s, info.cut_points_s)
        lanes = dict.fromkeys(Lane(self._lane_of(name)) for name in fits)
        return info.without_cut_points().to_dict() | {"uri": uri}, dict.fromkeys(lanes, segments)

    def _check_duration(self, info: MediaInfo) -> None:
        """Before it is cut: a list of a million segments is never made."""
        limits = self._policy.limits
        if info.duration_s > limits.media_s or not math.isfinite(info.duration_s):
            raise MediaError(info.uri, f"is {info.duration_s:.0f} s long; at most {limits.media_s:.0f} s are analysed")

    def _within_limits(self, cuts: Sequence[Cut]) -> list[Cut]:
        """The same, but nothing of it where all of it would be too many segments."""
        total, most = sum(len(s) for _info, plan in cuts for s in plan.values()), self._policy.limits.segments
        if total <= most:
            return list(cuts)
        error = f"the analysis has {total} segments; at most {most} may be asked for at once"
        return [({"uri": info["uri"], "error": info.get("error", error)}, {}) for info, _plan in cuts]
