"""What the node provider asks of Ray's control store (GCS): its nodes, and that one is drained or removed."""

# ruff: noqa: PLC0415 - Ray's private names are imported where they are used: without one, the others still work

from typing import Any

_TIMEOUT_S = 5.0


class RayGcs:
    """The GCS at `address`. Every method raises when it cannot be reached."""

    def __init__(self, address: str) -> None:
        self._address = address

    def nodes(self) -> list[Any]:
        """Those that Ray believes alive: `ray.autoscaler.v2.schema.NodeInfo`, the head among them."""
        from ray.autoscaler.v2.sdk import get_cluster_status

        status = get_cluster_status(self._address)
        return [*status.active_nodes, *status.idle_nodes]

    def drain(self, node_id: str, reason: str, deadline_ms: int) -> None:
        """Ray places nothing there any more; Serve moves its replicas away, at the latest shortly before the deadline.

        Deadline in unix milliseconds. Raises RuntimeError when the node refuses.
        """
        from ray._raylet import GcsClient  # type: ignore[attr-defined]
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        preemption = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION  # the one that a busy node does not reject
        client = GcsClient(address=self._address)
        accepted, why_not = client.drain_node(node_id, preemption, reason, deadline_ms)
        if not accepted:
            raise RuntimeError(f"Ray does not drain {node_id}: {why_not}")

    def remove(self, node_id: str, reason: str) -> None:
        """The node is dead from now on, as if ten health checks had failed; should it live, its raylet ends itself."""
        from ray._private.gcs_utils import create_gcs_channel
        from ray.core.generated.common_pb2 import NodeDeathInfo
        from ray.core.generated.gcs_service_pb2 import UnregisterNodeRequest
        from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

        death = NodeDeathInfo(reason=NodeDeathInfo.UNEXPECTED_TERMINATION, reason_message=reason)
        request = UnregisterNodeRequest(node_id=bytes.fromhex(node_id), node_death_info=death)
        with create_gcs_channel(self._address) as channel:
            NodeInfoGcsServiceStub(channel).UnregisterNode(request, timeout=_TIMEOUT_S)
