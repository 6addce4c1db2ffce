"""The loops by hand of tests.benchmarks.video, and what they share with the other contestants."""
# ruff: noqa: PLC0415 - each contestant imports its own

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

SIZE = (224, 224)


@dataclass(frozen=True)
class Job:
    """`fps` 0 means every frame; frames are decoded to `side` x `side`."""

    clips: tuple[str, ...]
    fps: float = 2.0
    side: int = 224

    @property
    def sampling_text(self) -> str:
        """As the command line takes it."""
        return f"{self.fps:g}fps" if self.fps else "all"


@dataclass
class Outcome:
    """Labels by "clip:frame index", and the seconds."""

    labels: dict[str, str]
    cold_s: float = 0.0
    warm_s: float = 0.0


def whole_segment(path: str) -> tuple[Any, Any]:
    """The clip's MediaInfo, and the one Segment that is all of it."""
    from pipelines.media.sampling import plan_segments
    from pipelines.media.sources import probe

    info = probe(path)
    (segment,) = plan_segments(info.duration_s, 1e6)
    return info, segment


def decoded(path: str, job: Job) -> Iterator[Any]:
    """The clip's sampled frames by the library's exact decoder, in this thread."""
    from pipelines.media.decoders.contract import FrameRequest, frames_per_batch
    from pipelines.media.decoders.pyav import PyAvDecoder
    from pipelines.media.sampling import parse_sampling

    info, segment = whole_segment(path)
    size = (job.side, job.side)
    sampling = parse_sampling(job.sampling_text, info.duration_s)
    request = FrameRequest(segment, sampling, size, info.origin_pts)
    for _, batch in PyAvDecoder().read(path, [request], frames_per_batch(size)):
        yield batch


def loaded_labels() -> Any:
    """The analyzer, on the CPU."""
    from pipelines.analyzers.labels import Labels

    labels = Labels()
    labels.load("cpu")
    return labels


def one_threaded_labels() -> Any:
    """In the thread that calls them only: the other core is busy, too."""
    import torch

    from pipelines.models.devices import AT_WORK

    torch.set_num_threads(1)
    for _ in os.sched_getaffinity(0):
        AT_WORK.__enter__()
    return loaded_labels()


def _by_hand(loop: Callable[[Any, dict[str, str]], None]) -> Outcome:
    started = time.monotonic()
    labels = one_threaded_labels()
    labels.classify(np.zeros((8, *SIZE, 3), np.uint8))
    warm = time.monotonic()
    found: dict[str, str] = {}
    loop(labels, found)
    now = time.monotonic()
    return Outcome(found, now - started, now - warm)


def limit(job: Job) -> Outcome:
    """A loop tuned by hand, without Ray: two decoding threads, one model thread, batches across clips."""

    def loop(labels: Any, found: dict[str, str]) -> None:
        queue: Queue[Any] = Queue(8)

        def decode(path: str) -> None:
            for batch in decoded(path, job):
                queue.put((path, batch))

        def feed() -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(decode, job.clips))
            queue.put(None)

        thread = threading.Thread(target=feed)
        thread.start()
        while (item := queue.get()) is not None:
            path, batch = item
            note(found, path, batch.indices, labels.classify(batch.pixels))
        thread.join()

    return _by_hand(loop)


def whole_clips(job: Job) -> Outcome:
    """The other loop by hand: two threads, each of which decodes and classifies whole clips."""

    def loop(labels: Any, found: dict[str, str]) -> None:
        def one(path: str) -> None:
            for batch in decoded(path, job):
                note(found, path, batch.indices, labels.classify(batch.pixels))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, job.clips))

    return _by_hand(loop)


def note(found: dict[str, str], path: str, indices: Any, pairs: Any) -> None:
    """Write down each frame's likeliest label."""
    for index, best in zip(indices.tolist(), pairs, strict=True):
        found[f"{Path(path).stem}:{index}"] = best[0][0]
