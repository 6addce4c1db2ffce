"""Ray's autoscaler on our orchestrator: five methods, no decision, no cloud key.

With each reading it also tells the orchestrator what Ray says of its nodes: used or not, and busy with what. And it
tells Ray which of them take no new work: their deadline is set here, by the head's clock, which is Serve's too.

Ray 2.60's autoscaler v2 calls only these. Tags given at creation come back unchanged; the head is listed too, since
without it nothing is ever launched. A failing read raises, so that Ray skips the tick instead of believing a part.
"""

import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

_log = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
# Present on every node for bookkeeping, or held by forgotten objects: no sign of work.
_NOT_WORK = ("memory", "object_store_memory")

# GCS address, Ray's node id, why, and the deadline in unix milliseconds.
DrainNode = Callable[[str, str, str, int], None]


def _drain_node(gcs_address: str, node_id: str, reason: str, deadline_ms: int) -> None:
    """Ray places nothing there any more; Serve moves its replicas away, at the latest shortly before the deadline."""
    preemption = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION  # the one that a busy node does not reject
    accepted, why_not = GcsClient(address=gcs_address).drain_node(node_id, preemption, reason, deadline_ms)
    if not accepted:
        raise RuntimeError(f"Ray does not drain {node_id}: {why_not}")


class RayNodeProvider(NodeProvider):  # type: ignore[misc]
    """A client of the orchestrator.

    `provider_config` holds orchestrator_url, token_file, gcs_address, head_instance_id and head_node_type.
    """

    def __init__(
        self,
        provider_config: dict[str, Any],
        cluster_name: str,
        transport: httpx.BaseTransport | None = None,
        cluster_status: Callable[[str], Any] = get_cluster_status,
        drain_node: DrainNode = _drain_node,
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
        self._cluster_status: Callable[[], Any] = partial(cluster_status, provider_config["gcs_address"])
        self._drain_node, self._clock = partial(drain_node, provider_config["gcs_address"]), clock
        self._drained: set[str] = set()

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The names of all nodes whose tags match; reads them anew. Raises httpx.HTTPError."""
        nodes = [self._head, *self._call("GET", "/v1/nodes")["nodes"]]
        self._nodes = {node["name"]: node for node in nodes}
        if len(nodes) > 1:
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
        """Report what Ray says of each node, and drain some. The orchestrator's bounds hold without it: a failure must

        not skip Ray's tick.
        """
        try:
            status = self._cluster_status()
            nodes = [n for n in (*status.active_nodes, *status.idle_nodes) if n.instance_id in self._nodes]
            self._call("POST", "/v1/nodes:observe", json={"nodes": [_activity(node) for node in nodes]})
            for node in nodes:
                self._drain(node)
        except Exception:
            _log.warning("the nodes' activity could not be reported, or not all drained", exc_info=True)

    def _drain(self, node: Any) -> None:
        wish = self._nodes[node.instance_id].get("drain")
        if wish and node.node_id not in self._drained:
            self._drain_node(node.node_id, wish["reason"], int((self._clock() + wish["left_s"]) * 1000))
            self._drained.add(node.node_id)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return dict(self._http.request(method, path, **options).raise_for_status().json())


def _activity(node: Any) -> dict[str, Any]:
    used = [name for name, amount in node.used_resources().items() if amount > 0]
    in_use = any(name not in _NOT_WORK and not name.startswith("node:") for name in used)
    return {"name": node.instance_id, "in_use": in_use, "reasons": list(node.node_activity or ())}
