"""One Ray node on a worker: its command, its environment, and how it is stopped."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.ray_patches.decision import Decision, decide
from cluster.ray_patches.patch import Node

POLL_S = 0.05
_STOP_GRACE_S = 2.0


class StartLock:
    """Makes this machine's workers start their nodes one after another; held until `release` or the process's end.

    Two at once would take the same free names for sockets, and neither would become a node.
    """

    def __init__(self) -> None:
        self._descriptor = os.open(__file__, os.O_RDONLY)  # a file that all of them can open, and that is there anyway

    def acquire(self) -> bool:
        """Take it if it is free; returns whether it is ours now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next worker start its node."""
        os.close(self._descriptor)


def start(name: str, grant: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start the node that the grant describes."""
    patches = _patches(grant)
    command = [*patches.ray_command(), "start", "--block", "--disable-usage-stats", *grant["ray_start_flags"]]
    return subprocess.Popen(command, env=_environment(name, grant, patches))  # noqa: S603


def gpus_of(flags: Sequence[str]) -> int:
    """How many GPUs the flags of `ray start` give a node."""
    return max((int(float(flag.split("=")[1])) for flag in flags if flag.startswith("--num-gpus=")), default=0)


def _environment(name: str, grant: Mapping[str, Any], patches: Decision) -> dict[str, str]:
    return os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": _in_memory_file(grant["ray_token"]),
        "RAY_USAGE_STATS_ENABLED": "0",
        **patches.environment(
            grace_s=float(grant["grace_s"]),
            drain_s=float(grant["drain_s"]),
            instance_id=name,
            node_type=grant["node_type"],
            # One for each GPU, and one for what supervises a job.
            prestarted_workers=gpus_of(grant["ray_start_flags"]) + 1,
        ),
    }


def _patches(grant: Mapping[str, Any]) -> Decision:
    """What the cluster's settings allow of what this worker's own Ray is fit for."""
    node = Node.GPU_WORKER if gpus_of(grant["ray_start_flags"]) else Node.WORKER
    decision = decide(grant["ray"]["patches"], grant["ray"]["without_patches"], node)
    for name, why in (decision.stock | decision.doubts).items():
        print(f"Ray patch {name}: {why}", file=sys.stderr, flush=True)
    return decision


def _in_memory_file(text: str) -> str:
    """A path that this user's processes can read while this process lives, and that no disk ever holds."""
    descriptor = os.memfd_create("ray-token")
    os.write(descriptor, text.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def wait_for_port(process: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """True once something listens there, False when the process ended first."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(POLL_S)
    return False


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM, then SIGKILL; returns the exit code."""
    process.terminate()
    try:
        return process.wait(timeout=_STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
