"""Which processes of this machine belong to a cluster, and which of them to its workers."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

MARKER = "AIMA_CLUSTER"
_WORKERS_MARKER = "AIMA_INSTANCE"


def processes(cluster_id: str) -> Iterator[psutil.Process]:
    """Every live process that carries the cluster's mark, and their descendants.

    Children inherit the mark, but Ray's agents and dashboard modules write their titles over it.
    """
    marked = [process for process in psutil.process_iter() if environment(process).get(MARKER) == cluster_id]
    yield from filter(lives, _with_descendants(marked).values())


def head_processes(cluster_id: str, ray_dir: Path) -> list[psutil.Process]:
    """What belongs to the head alone: the processes of the cluster that are no worker's.

    After `kill -9` of a head's main processes, others of its go on and hold its ports. The mark may be overwritten and
    the parent gone, but Ray has sent their output into its session's directory `ray_dir`.
    """
    everything = list(psutil.process_iter())
    marked = [p for p in everything if environment(p).get(MARKER) == cluster_id]
    # Rented from a fake cloud on this machine, workers carry no mark of the cluster's, yet write beside its head.
    workers = _with_descendants([p for p in everything if _WORKERS_MARKER in environment(p)])
    writing = [p for p in everything if _writes_below(p, ray_dir)]
    found = _with_descendants([*marked, *writing])
    return [process for pid, process in found.items() if pid not in workers and lives(process)]


def belongs(process: psutil.Process, cluster_id: str, ray_dir: Path) -> bool:
    """Whether the process or one that started it carries the cluster's mark or writes into its Ray's directory.

    A worker's mark is the name of its launch, which begins with the cluster's id.
    """
    with contextlib.suppress(psutil.Error):
        for each in (process, *process.parents()):
            own = environment(each)
            marked = own.get(MARKER) == cluster_id or own.get(_WORKERS_MARKER, "").startswith(f"{cluster_id}-")
            if marked or _writes_below(each, ray_dir):
                return True
    return False


def environment(process: psutil.Process) -> dict[str, str]:
    """The variables that it was started with; none once it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ()
    return {}


def words(process: psutil.Process) -> list[str]:
    """Its command line; nothing once it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie has."""
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _writes_below(process: psutil.Process, directory: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{process.pid}/fd/1").startswith(f"{directory}/")
    return False


def _with_descendants(roots: list[psutil.Process]) -> dict[int, psutil.Process]:
    found = {process.pid: process for process in roots}
    for process in roots:
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True)}
    return found
