"""The deployment of each lane: one segment of one media item in, its Parquet parts and a report out."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from typing import Any

from pipelines import logs
from pipelines.errors import file_name
from pipelines.models.devices import AT_ONCE_ON_CPUS
from pipelines.segments.segment_analyzer import SegmentAnalyzer
from pipelines.segments.task import SegmentReport, SegmentTask
from serve_apps.models.boot_phases import announce

_log = logging.getLogger(__name__)


class SegmentModel:
    """Runs on a worker. It reads media and writes parts itself: frames never cross Ray's object store.

    It works on `at_once` segments; who is given more keeps them waiting (see GIVEN_AHEAD).
    """

    def __init__(
        self,
        log_format: logs.Format = "text",
        log_level: logs.Level = "info",
        hardware_decoding: bool = False,
        at_once: int = AT_ONCE_ON_CPUS,
    ) -> None:
        logs.configure("worker", log_format, log_level)
        self._analyzer = SegmentAnalyzer(hardware_decoding=hardware_decoding)
        self._instance = os.environ.get("AIMA_INSTANCE", "")
        self._turns = asyncio.Semaphore(at_once)

    async def analyze(self, task: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Analyse one segment (a `SegmentTask` as a dict, with what logs are to say it is about).

        Yields {"instance"} when the first frame is decoded, then {"report", "instance", "busy_s"}. No time of day is in
        them: this machine's clock may be off.
        Raises pipelines.errors.MediaError for media that cannot be read.
        """
        loop, decoded = asyncio.get_running_loop(), asyncio.Event()

        def on_first_frame() -> None:
            loop.call_soon_threadsafe(decoded.set)

        wanted = SegmentTask.from_dict(dict(task))
        await self._turns.acquire()

        @cache  # once, whoever says so first
        def turn_over() -> None:
            loop.call_soon_threadsafe(self._turns.release)

        started = time.monotonic()
        with logs.about(instance=self._instance, **task.get("about", {})):
            work = asyncio.create_task(asyncio.to_thread(self._run, wanted, on_first_frame, turn_over))
        # Not when the request ends: it may be cancelled, and the thread goes on.
        work.add_done_callback(lambda _work: turn_over())
        first = asyncio.create_task(decoded.wait())
        await asyncio.wait({work, first}, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            announce("model loaded")
            yield {"instance": self._instance}
        else:
            first.cancel()
        report = await asyncio.shield(work)
        busy_s = time.monotonic() - started
        yield {"report": report.to_dict(), "instance": self._instance, "busy_s": busy_s}

    def _run(
        self, task: SegmentTask, on_first_frame: Callable[[], None], on_last_frame: Callable[[], None]
    ) -> SegmentReport:
        _log.info("begins with %s for %s", file_name(task.media_uri), ", ".join(task.analyzers))
        try:
            report = self._analyzer.run(task, on_first_frame, on_last_frame)
        except Exception as error:
            _log.warning("failed: %s: %s", type(error).__name__, error)
            raise
        _log.info("done: %d frames in %.2f s", report.frames, report.seconds)
        return report
