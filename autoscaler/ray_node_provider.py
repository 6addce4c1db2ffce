"""Ray's autoscaler on our orchestrator: five methods, no decision, no cloud key.

Ray 2.60's autoscaler v2 calls only these. Tags given at creation come back unchanged; the head is listed too, since
without it nothing is ever launched. A failing read raises, so that Ray skips the tick instead of believing a part.
"""

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

_TIMEOUT_S = 10.0


class RayNodeProvider(NodeProvider):  # type: ignore[misc]
    """A client of the orchestrator.

    `provider_config` holds orchestrator_url, token_file, head_instance_id and head_node_type.
    """

    def __init__(
        self, provider_config: dict[str, Any], cluster_name: str, transport: httpx.BaseTransport | None = None
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

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The names of all nodes whose tags match; reads them anew. Raises httpx.HTTPError."""
        nodes = [self._head, *self._call("GET", "/v1/nodes")["nodes"]]
        self._nodes = {node["name"]: node for node in nodes}
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
        self._call("POST", "/v1/nodes", json=body)

    def terminate_nodes(self, node_ids: list[str]) -> None:
        """These are not wanted any more. Raises httpx.HTTPError."""
        self._call("POST", "/v1/nodes:terminate", json={"names": list(node_ids)})

    def terminate_node(self, node_id: str) -> None:
        """The same for one."""
        self.terminate_nodes([node_id])

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return dict(self._http.request(method, path, **options).raise_for_status().json())
