"""A worker's first process: join the head, run one Ray node, and never outlive that purpose.

Its environment names the orchestrator and holds a one-time join token, nothing else. What it may use afterwards
(its address and ports, the head's address, Ray's token) comes back in the reply; Ray's token is kept in memory,
never in a file or a variable. Only the standard library is imported: every import here delays the first frame.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# A starting replica answers Serve's controller with 115 KiB, and after a replica's death the controller holds on to
# that answer. Kept as an object on the worker, it would make Ray call the worker busy for ever.
INLINE_RESULTS = {"RAY_max_direct_call_object_size": str(1024**2)}
_POLL_S = 0.05
_STOP_GRACE_S = 2.0


class JoinRefused(RuntimeError):
    """The orchestrator did not accept this machine's token."""


def main() -> int:
    """Join, start the Ray node, wait for its end. Returns the process's exit code."""
    name, token = os.environ["AIMA_INSTANCE"], os.environ.pop("AIMA_JOIN_TOKEN")
    orchestrator = os.environ["AIMA_ORCHESTRATOR_URL"]
    started = time.monotonic()
    try:
        grant = _post(orchestrator, "/v1/join", {"name": name, "token": token}, bearer=token)
    except (JoinRefused, OSError) as error:
        print(f"{name} cannot join {orchestrator}: {error}", file=sys.stderr)
        return 1
    ray = subprocess.Popen(_ray_command(grant), env=_ray_environment(name, grant))  # noqa: S603
    signal.signal(signal.SIGTERM, lambda *_: ray.terminate())
    if _wait_for_port(ray, grant["host"], int(grant["node_manager_port"])):
        with contextlib.suppress(JoinRefused, OSError):  # the node works without its boot time on record
            _post(orchestrator, "/v1/joined", {"name": name}, bearer=grant["report_token"])
    return _wait(ray, deadline=started + float(grant["max_age_s"]))


def _ray_command(grant: Mapping[str, Any]) -> list[str]:
    ray = str(Path(sys.executable).with_name("ray"))
    return [ray, "start", "--block", "--disable-usage-stats", *grant["ray_start_flags"]]


def _ray_environment(name: str, grant: Mapping[str, Any]) -> dict[str, str]:
    return os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": _in_memory_file(grant["ray_token"]),
        "RAY_CLOUD_INSTANCE_ID": name,
        "RAY_NODE_TYPE_NAME": str(grant["node_type"]),
        "RAY_enable_autoscaler_v2": "1",
        **INLINE_RESULTS,
    }


def _in_memory_file(text: str) -> str:
    """A path that this user's processes can read while this process lives, and that no disk ever holds."""
    descriptor = os.memfd_create("ray-token")
    os.write(descriptor, text.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _wait_for_port(process: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """True once something listens there, False when the process ended first."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(_POLL_S)
    return False


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int:
    try:
        return process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print("this worker has reached its maximum age and ends", file=sys.stderr)
        process.terminate()
    try:
        return process.wait(timeout=_STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _post(base_url: str, path: str, body: Mapping[str, Any], bearer: str) -> Any:
    url = urlsplit(base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read()
    finally:
        connection.close()
    if reply.status >= 300:
        raise JoinRefused(f"{reply.status} {text.decode(errors='replace')}")
    return json.loads(text) if text else None


if __name__ == "__main__":
    sys.exit(main())
