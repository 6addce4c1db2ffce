"""Imported by each of Ray's processes that a node with a GPU starts with: what models need, while nobody waits for it.

Those processes are there seconds before the first replica or actor is given one, and with torch, Ray Serve and Ray Data
in them they begin at once. In a thread, for a job's supervisor needs none of these and is not to wait. Nothing here may
touch a GPU: Ray says only later which one a process is to see.
"""

import contextlib
import threading
from importlib import import_module

# The longest first. A worker of one's own may lack some.
MODULES = ("torch", "pipelines.video", "onnxruntime", "ray.serve._private.replica", "ray.data")


def warm_up() -> threading.Thread:
    """Import what can be; the thread that does."""
    thread = threading.Thread(target=_import_all, name="warm-up", daemon=True)
    thread.start()
    return thread


def _import_all() -> None:
    for module in MODULES:
        with contextlib.suppress(ImportError):
            import_module(module)


warm_up()
