"""What a worker's machine really has: GPU, disk, and the memory and cores its container may use."""

import os
import re
import shutil
import subprocess
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Ray keeps its objects
_MIN_FREE_DISK_BYTES = 2 * 1024**3
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
# How a GPU answers that has fallen off the bus or whose memory is beyond repair.
_DEAD_GPU = re.compile(r"\[|GPU is lost|unknown error|ERR!|unable to determine", re.IGNORECASE)
_SMI_TIMEOUT_S = 30.0


def unfit(gpus: int, directory: str = "/") -> str:
    """Why this machine cannot work; empty when it can. `gpus`: how many were paid for, 0 where none is checked."""
    free = shutil.disk_usage(directory).free
    if free < _MIN_FREE_DISK_BYTES:
        return f"only {free / 1024**3:.1f} GiB of disk are free, {_MIN_FREE_DISK_BYTES / 1024**3:.0f} are needed"
    return _gpu_fault(gpus) if gpus else ""


def _gpu_fault(gpus: int) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            _NVIDIA_SMI, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its GPU driver does not answer: {error}"
    if done.returncode or not done.stdout.strip():
        return f"its GPU driver fails: {(done.stderr or done.stdout).strip()[:200]}"
    told = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    dead = [line for line in told if _DEAD_GPU.search(line)]
    working = len([line for line in done.stdout.splitlines() if line.strip() and not _DEAD_GPU.search(line)])
    if working < gpus:
        return f"{working} of its {gpus} GPUs work{f': {dead[0][:200]}' if dead else ''}"
    return ""


def memory_limit_bytes(cgroup: Path = _CGROUP) -> int:
    """What this container may use: its cgroup's limit, else all of the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(cgroup / name)
        if limit is not None:
            return min(machine, limit)
    return machine


def memory_flags(object_store_bytes: int, cgroup: Path = _CGROUP, shared: str = _SHARED_MEMORY) -> list[str]:
    """`ray start` flags: an object store that fits the shared memory, and what is left for tasks."""
    limit = memory_limit_bytes(cgroup)
    store = min(object_store_bytes, int(shutil.disk_usage(shared).total * 0.9), limit // 3)
    return [f"--object-store-memory={store}", f"--memory={int((limit - store) * 0.8)}"]


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
