"""Whether a Serve that a restarted head knows of comes back."""

import time

import ray
from ray._private import state
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

_FREED_S = 10.0


def serve_is_lost() -> bool:
    """Whether Serve's controller neither runs nor will: it is not known, or is said to live on a node that is dead.

    Ray writes down a node's end and its actors' separately. Of a head that ended in between, the actors are never
    started again, and their names stay taken: such a controller's is freed here.
    """
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return True
    record = state.actors(controller._actor_id.hex())
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    if record["State"] != "ALIVE" or record["Address"]["NodeID"] in nodes:
        return False
    ray.kill(controller)
    deadline = time.monotonic() + _FREED_S
    while time.monotonic() < deadline:
        try:
            ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        except ValueError:
            break
        time.sleep(0.1)
    return True
