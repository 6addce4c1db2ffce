"""A worker's first process: join the head, run one Ray node, and never outlive that purpose.

Its environment names where to join and holds a one-time join token, nothing else. What it may use afterwards
(its address and ports, the head's address, Ray's token) comes back in the reply; Ray's token is kept in memory,
never in a file or a variable. A worker of this machine joins at the orchestrator's API, with the standard library only:
every import here delays the first frame. One that is given AIMA_HUB joins through the overlay (rented_entrypoint.py).
"""

import contextlib
import http.client
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cluster.worker import ray_node


class JoinRefused(RuntimeError):
    """The orchestrator did not accept this machine's token."""


def main() -> int:
    """Join, start the Ray node, wait for its end. Returns the process's exit code."""
    if "AIMA_HUB" in os.environ:
        return int(importlib.import_module("cluster.worker.rented_entrypoint").main())
    return _run_beside_the_head()


def _run_beside_the_head() -> int:
    name, token = os.environ["AIMA_INSTANCE"], os.environ.pop("AIMA_JOIN_TOKEN")
    orchestrator = os.environ["AIMA_ORCHESTRATOR_URL"]
    started = time.monotonic()
    try:
        grant = _post(orchestrator, "/v1/join", {"name": name, "token": token}, bearer=token)
    except (JoinRefused, OSError) as error:
        print(f"{name} cannot join {orchestrator}: {error}", file=sys.stderr)
        return 1
    lock = ray_node.StartLock()
    while not lock.acquire():
        time.sleep(ray_node.POLL_S)
    ray = ray_node.start(name, grant)
    signal.signal(signal.SIGTERM, lambda *_: ray.terminate())
    listens = ray_node.wait_for_port(ray, grant["host"], int(grant["node_manager_port"]))
    lock.release()
    if listens:
        with contextlib.suppress(JoinRefused, OSError):  # the node works without its boot time on record
            _post(orchestrator, "/v1/joined", {"name": name}, bearer=grant["report_token"])
    return _wait(ray, deadline=started + float(grant["max_age_s"]))


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int:
    try:
        return process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print("this worker has reached its maximum age and ends", file=sys.stderr)
        return ray_node.stop(process)


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
