"""How processes of this machine are ended, for good."""

import contextlib
import subprocess
from collections.abc import Callable

import psutil

from cluster.head import supervisor
from cluster.local.processes import words

_STOP_GRACE_S = 3.0
_STOP_ROUNDS = 4
# Processes that outlive the call that started them, kept so that their exit codes can be taken.
started: list[subprocess.Popen[bytes]] = []


class ClusterError(RuntimeError):
    """The cluster could not be started, reached or stopped; the message says what to do."""


def stop_all(cluster_id: str, left: Callable[[], list[psutil.Process]], grace_s: float = _STOP_GRACE_S) -> None:
    """End what `left` gives until it gives nothing. Raises ClusterError if something survives."""
    for _round in range(_STOP_ROUNDS):  # what ends may just have started something
        alive = left()
        started[:] = [child for child in started if child.poll() is None]
        if not alive:
            return
        _stop(alive, grace_s)
    raise ClusterError(f"these processes of {cluster_id} do not end: {[p.pid for p in left()]}")


def _stop(everything: list[psutil.Process], grace_s: float) -> None:
    """SIGTERM to all, SIGKILL to whatever is left after the grace; with no grace, SIGKILL alone.

    Ray's GCS is killed first: it must not see how the others end (see supervisor.end_children).
    """
    for process in everything if grace_s else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _gone, alive = psutil.wait_procs(everything, timeout=grace_s)
    for process in sorted(alive, key=lambda process: not _is_gcs(process)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_STOP_GRACE_S)


def _is_gcs(process: psutil.Process) -> bool:
    return any(word.endswith(f"/{supervisor.GCS}") for word in words(process)[:1])
