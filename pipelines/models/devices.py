"""Where models run, and how many segments share them."""

import os
import threading
from contextlib import AbstractContextManager
from importlib.util import find_spec

_LEAST_AT_ONCE, _MOST_AT_ONCE = 2, 16
AT_ONCE_ON_CPUS = 2  # where the model itself takes the cores: one is read while the other is understood


class AtWork(AbstractContextManager[None]):
    """How many segments, or bundles of pictures, this process works on; entered for each."""

    def __init__(self, cores: int) -> None:
        self._cores, self._count, self._lock = cores, 0, threading.Lock()

    @property
    def fills_the_cores(self) -> bool:
        """Whether there is one for each core: none has another to spare."""
        return self._count >= self._cores

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1


AT_WORK = AtWork(len(os.sched_getaffinity(0)))


def pick_device() -> str:
    """ "cuda" where a GPU can be used, else "cpu". Imports torch."""
    if find_spec("torch") is None:
        return "cpu"
    import torch  # noqa: PLC0415

    # Ray says so when it gives a process its work, and torch reads it when it is imported, which may be earlier.
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        torch.set_num_threads(int(threads))
    return "cuda" if torch.cuda.is_available() else "cpu"


def segments_at_once(cores: float, media_s_per_worker: float, segment_s: float) -> int:
    """How many segments of `segment_s` seconds share one worker's models; each is decoded by one core.

    As many as there are cores, but no more than the seconds of media that another worker is bought for: it would find
    nothing left. Only for machines with a GPU: where the models themselves take the cores, more segments at once make
    larger batches in more memory, and all of them slower.
    """
    share = int(media_s_per_worker // segment_s)
    return max(_LEAST_AT_ONCE, min(int(cores), share, _MOST_AT_ONCE))
