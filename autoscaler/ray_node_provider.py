"""Ray's autoscaler on our orchestrator: five methods, no decision, no cloud key.

With each reading it also tells the orchestrator what Ray says of its nodes: used or not, and busy with what. And it
tells Ray which of them take no new work: their deadline is set here, by the head's clock, which is Serve's too. And
which of them are gone: by itself Ray would believe in them, and wait for them, until ten health checks have failed.

Ray 2.60's autoscaler v2 calls only these. Tags given at creation come back unchanged; the head is listed too, since
without it nothing is ever launched. A failing read raises, so that Ray skips the tick instead of believing a part.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from autoscaler.names import is_launch_of
from autoscaler.ray_gcs import RayGcs

_log = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
# Their names in the registry of differences from stock Ray.
_DRAIN, _REMOVAL = "node_drain", "node_removal"
# Present on every node for bookkeeping, or held by forgotten objects: no sign of work.
_NOT_WORK = ("memory", "object_store_memory")


class RayNodeProvider(NodeProvider):  # type: ignore[misc]
    """A client of the orchestrator.

    `provider_config` holds orchestrator_url, token_file, gcs_address, head_instance_id, head_node_type and ray_patches:
    which calls of Ray's private API may be made (node_drain, node_removal).
    """

    def __init__(
        self,
        provider_config: dict[str, Any],
        cluster_name: str,
        transport: httpx.BaseTransport | None = None,
        gcs: Callable[[str], RayGcs] = RayGcs,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(provider_config, cluster_name)
        token = Path(provider_config["token_file"]).read_text(encoding="utf-8")
        self._http = httpx.Client(
            base_url=provider_config["orchestrator_url"],
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_S,
            transport=transport,
        )
        self._head = {
            "name": provider_config["head_instance_id"],
            "running": True,
            "tags": {
                TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
                TAG_RAY_USER_NODE_TYPE: provider_config["head_node_type"],
                TAG_RAY_NODE_NAME: provider_config["head_instance_id"],
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            },
        }
        self._nodes: dict[str, dict[str, Any]] = {}
        self._gcs, self._clock = gcs(provider_config["gcs_address"]), clock
        self._drains = _DRAIN in provider_config["ray_patches"]
        self._removes = _REMOVAL in provider_config["ray_patches"]
        self._drained: set[str] = set()
        self._ray_may_know_one = True

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The names of all nodes whose tags match; reads them anew. Raises httpx.HTTPError."""
        nodes = [self._head, *self._call("GET", "/v1/nodes").json()["nodes"]]
        self._nodes = {node["name"]: node for node in nodes}
        if len(nodes) > 1 or self._ray_may_know_one:
            self._exchange_with_ray()
        return [name for name, node in self._nodes.items() if tag_filters.items() <= node["tags"].items()]

    def node_tags(self, node_id: str) -> dict[str, str]:
        """The tags of a node of the last reading."""
        return dict(self._nodes[node_id]["tags"])

    def is_running(self, node_id: str) -> bool:
        """Whether a node of the last reading has joined."""
        return bool(self._nodes[node_id]["running"])

    def is_terminated(self, node_id: str) -> bool:
        """Whether the last reading omits it."""
        return node_id not in self._nodes

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        """Ask for `count` machines. They are written down when this returns; buying follows. Raises httpx.HTTPError."""
        body = {"node_type": tags[TAG_RAY_USER_NODE_TYPE], "count": count, "tags": tags}
        body["call_id"] = secrets.token_hex(8)
        try:
            self._call("POST", "/v1/nodes", json=body)
        except httpx.TransportError:  # whether it arrived or not: the same call id buys nothing twice
            self._call("POST", "/v1/nodes", json=body)

    def terminate_nodes(self, node_ids: list[str]) -> None:
        """These are not wanted any more. Raises httpx.HTTPError."""
        self._call("POST", "/v1/nodes:terminate", json={"names": list(node_ids)})

    def terminate_node(self, node_id: str) -> None:
        """The same for one."""
        self.terminate_nodes([node_id])

    def _exchange_with_ray(self) -> None:
        """Report what Ray says of each node, drain some, and remove those that are gone.

        The orchestrator's bounds hold without it: a failure must skip neither Ray's tick nor what is left to do.
        """
        with _only_warned("Ray does not tell of its nodes"):
            known = [node for node in self._gcs.nodes() if self._is_ours(node.instance_id)]
            self._ray_may_know_one = bool(known)
            listed = [node for node in known if node.instance_id in self._nodes]
            for node in known:
                if self._removes and node not in listed:  # what may still run is listed
                    with _only_warned(f"Ray keeps the node of {node.instance_id}, whose machine is gone"):
                        self._gcs.remove(node.node_id, f"the machine of {node.instance_id} is gone")
            for node in listed:
                with _only_warned(f"the node of {node.instance_id} may still be given work"):
                    self._drain(node)
            if len(self._nodes) > 1:  # that Ray knows none of them is news too
                self._call("POST", "/v1/nodes:observe", json={"nodes": [_activity(node) for node in listed]})

    def _is_ours(self, name: str) -> bool:
        """One that is listed may carry the name that its cluster had before an upgrade; the head is no launch."""
        return name != self._head["name"] and (name in self._nodes or is_launch_of(self.cluster_name, name))

    def _drain(self, node: Any) -> None:
        wish = self._nodes[node.instance_id].get("drain")
        if self._drains and wish and node.node_id not in self._drained:
            self._gcs.drain(node.node_id, wish["reason"], int((self._clock() + wish["left_s"]) * 1000))
            self._drained.add(node.node_id)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._http.request(method, path, **options).raise_for_status()


@contextmanager
def _only_warned(consequence: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _log.warning("%s: %s", consequence, error, exc_info=True)


def _activity(node: Any) -> dict[str, Any]:
    used = [name for name, amount in node.used_resources().items() if amount > 0]
    in_use = any(name not in _NOT_WORK and not name.startswith("node:") for name in used)
    return {"name": node.instance_id, "in_use": in_use, "reasons": list(node.node_activity or ())}
