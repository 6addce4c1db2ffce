"""A rented machine ends itself, with the key that its cloud has put into it and that is good for nothing else.

Nothing but the standard library speaks to the cloud: this must work when everything else has failed.
"""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoscaler.clouds.registry import api_root
from autoscaler.errors import CloudError

_TIMEOUT_S = 20.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
# RunPod's edge answers a request without one with an HTML page.
_USER_AGENT = "aima-worker"


@dataclass(frozen=True)
class OwnInstance:
    """This very machine, as its cloud knows it: its id there, what to DELETE, and with which key."""

    cloud: str
    instance_id: str
    url: str
    key: str


def detect(environment: Mapping[str, str]) -> OwnInstance | None:
    """The rented machine we run on, by what its cloud injects; None on a machine that ends with its first process."""
    if pod := environment.get("RUNPOD_POD_ID"):
        base = _root("runpod", environment.get("RUNPOD_API_BASE_URL", ""))
        return OwnInstance("runpod", pod, f"{base}/v2/pods/{pod}", environment.get("RUNPOD_API_KEY", ""))
    if container := environment.get("CONTAINER_ID"):
        base = _root("vastai", environment.get("VAST_API_BASE_URL", ""))
        return OwnInstance(
            "vastai", container, f"{base}/v0/instances/{container}/", environment.get("CONTAINER_API_KEY", "")
        )
    return None


def _root(cloud: str, given: str) -> str:
    """The API's root; a variable that holds no URL keeps no machine alive."""
    try:
        return api_root(cloud, given)
    except CloudError:
        return api_root(cloud)


def end(own: OwnInstance, sleep: Callable[[float], None] = time.sleep) -> None:
    """Ask the cloud for our end, again and again: it ends us in the middle of this, or never.

    There is nothing else to do. To exit would restart the container, which is billed on; a refusal (403) may be the
    cloud's passing trouble, and the head's sweep ends us in any case.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        _say(f"ending this instance at {own.cloud}: {_delete(own)}")
        sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _delete(own: OwnInstance) -> str:
    headers = {"Authorization": f"Bearer {own.key}", "User-Agent": _USER_AGENT}
    request = urllib.request.Request(own.url, method="DELETE", headers=headers)  # noqa: S310 - our own clouds' URLs
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            return f"accepted ({reply.status})"
    except urllib.error.HTTPError as error:
        return f"refused ({error.code}), tried again"
    except OSError as error:
        return f"no answer ({error}), tried again"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
