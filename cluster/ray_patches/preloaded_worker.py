"""Imported by each of Ray's processes that a node with a GPU starts with: what models need, while nobody waits for it.

With torch, Ray Serve and Ray Data in it, whatever a process is given then begins at once. In a thread, and no further
than until there is work: that imports what it needs itself. Nothing here may touch a GPU: Ray says only later which one
a process is to see.
"""

import contextlib
import os
import threading
import time
from importlib import import_module

from ray._raylet import getproctitle  # type: ignore[attr-defined]

# The longest first. A worker of one's own may lack some.
MODULES = ("torch", "pipelines.video", "onnxruntime", "ray.serve._private.replica", "ray.data")
# Where cores are few, those that wait would take them from the one that the node was bought for: cold starts on two
# cores took 0.6 s longer.
_MANY_CORES, _REST_S = 4, 5.0


def rest_s(cores: int) -> float:
    """How many seconds to wait first."""
    return 0.0 if cores >= _MANY_CORES else _REST_S


def warm_up(after_s: float) -> threading.Thread:
    """Import what can be; the thread that does."""
    thread = threading.Thread(target=_import_all, args=(after_s,), daemon=True)
    thread.start()
    return thread


def _import_all(after_s: float) -> None:
    time.sleep(after_s)
    for module in MODULES:
        if getproctitle() != "ray::IDLE":
            return
        with contextlib.suppress(ImportError):
            import_module(module)


warm_up(rest_s(len(os.sched_getaffinity(0))))
