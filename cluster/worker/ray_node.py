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

# A starting replica answers Serve's controller with 115 KiB, and after a replica's death the controller holds on to
# that answer. Kept as an object on the worker, it would make Ray call the worker busy for ever.
INLINE_RESULTS = {"RAY_max_direct_call_object_size": str(1024**2)}
# Of a node with a GPU: Ray starts processes with it, not only when there is something for them to do, and each imports
# this first.
WARM = {"RAY_enable_worker_prestart": "1", "RAY_preload_python_modules": "cluster.ray_patches.preloaded_worker"}
# The log monitor looks for new files with the others, twice a second, and not ten times.
CALM = {"RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1"}
POLL_S = 0.05
_STOP_GRACE_S = 2.0


def patience(grace_s: float) -> dict[str, str]:
    """How long Ray's processes wait for one another: a link that is silent for a minute, or a head that comes back

    within `grace_s`, is no death.
    """
    return {
        "RAY_gcs_rpc_server_reconnect_timeout_s": f"{grace_s:.0f}",
        "RAY_grpc_keepalive_timeout_ms": "120000",
        "RAY_health_check_failure_threshold": "10",
    }


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
    start_ray = [sys.executable, "-m", "cluster.ray_patches.start_worker", "start"]
    command = [*start_ray, "--block", "--disable-usage-stats", *grant["ray_start_flags"]]
    return subprocess.Popen(command, env=_environment(name, grant))  # noqa: S603


def gpus_of(flags: Sequence[str]) -> int:
    """How many GPUs the flags of `ray start` give a node."""
    return max((int(float(flag.split("=")[1])) for flag in flags if flag.startswith("--num-gpus=")), default=0)


def _environment(name: str, grant: Mapping[str, Any]) -> dict[str, str]:
    return os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": _in_memory_file(grant["ray_token"]),
        "RAY_CLOUD_INSTANCE_ID": name,
        "RAY_NODE_TYPE_NAME": str(grant["node_type"]),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": f"{float(grant['drain_s']):g}",
        "RAY_enable_autoscaler_v2": "1",
        **(WARM if gpus_of(grant["ray_start_flags"]) else {}),
        **CALM,
        **INLINE_RESULTS,
        **patience(float(grant["grace_s"])),
    }


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
