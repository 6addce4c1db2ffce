"""How much memory the head holds, and may hold: by its container's own account, else its processes added up."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from cluster.local.processes import head_processes
from serve_apps.monitoring.metrics import Memory

_FIRST_PROCESS = Path("/proc/1/cmdline")
_CGROUP = Path("/sys/fs/cgroup")
# Adding up reads a file of each process: not with every scrape.
_FRESH_S = 15.0


def has_own_container(first_process: Path = _FIRST_PROCESS) -> bool:
    """Whether the head is all that this container is for."""
    try:
        return b"cluster.head.start" in first_process.read_bytes().split(b"\0")
    except OSError:
        return False


def of_container(cgroup: Path = _CGROUP) -> Memory | None:
    """What a container with a limit has in use, without the files that the kernel would drop; None where there is none.

    Kubernetes ends a container by the same figure, the working set.
    """
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        current = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else Memory(current - int(stat.get("inactive_file", 0)), int(limit))


def of_processes(cluster_id: str, ray_dir: Path) -> Memory:
    """The proportional set size of the head's processes, on a machine that is theirs up to its end."""
    used = 0
    for process in head_processes(cluster_id, ray_dir):
        try:
            used += process.memory_full_info().pss
        except psutil.Error:
            continue  # it has ended meanwhile
    return Memory(used, psutil.virtual_memory().total)


def reader(cluster_id: str, ray_dir: Path) -> Callable[[], Memory]:
    """Reads at most every 15 s."""
    latest: tuple[float, Memory] | None = None

    def read() -> Memory:
        nonlocal latest
        if latest is None or time.monotonic() - latest[0] >= _FRESH_S:
            own = of_container() if has_own_container() else None
            latest = (time.monotonic(), own or of_processes(cluster_id, ray_dir))
        return latest[1]

    return read
