"""KubeRay's operator and the cluster under it, as far as worker groups are concerned, on a clock that others move."""

import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_OVER = ("Failed", "Succeeded")


@dataclass
class Kuberay:
    """One RayCluster and its pods. Seconds are the clock's; the switches fail things from now on.

    `quota`: pods that may exist. `image_error`: what the kubelet says of the image. `unschedulable`: what the
    scheduler says. `stopped`: the operator does nothing.
    """

    clock: Callable[[], float]
    ray_cluster: dict[str, Any]
    operator_lag_s: float = 0.5
    start_s: float = 2.0
    end_s: float = 1.0
    quota: int = 100
    image_error: str = ""
    unschedulable: str = ""
    stopped: bool = False
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: int = 0
    _changed_at: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - the same every time

    def changed(self) -> None:
        """The RayCluster has a new version; the operator sees it after its lag."""
        metadata = self.ray_cluster["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        self._changed_at = self.clock()

    def advance(self) -> None:
        """Everything that has happened until now: pods start and end, the operator reconciles."""
        for name, pod in list(self.pods.items()):
            ended_at = pod["fake"].get("ends_at")
            if ended_at is not None and self.clock() >= ended_at:
                del self.pods[name]
            else:
                self._run(pod)
        if not self.stopped and self.clock() - self._changed_at >= self.operator_lag_s:
            for spec in self.ray_cluster["spec"]["workerGroupSpecs"]:
                self._reconcile(spec)

    def evict(self, name: str) -> None:
        """The kubelet needs the memory."""
        self.pods[name]["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}

    def public(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """The pod as the API shows it."""
        return {key: deepcopy(value) for key, value in pod.items() if key != "fake"}

    def _reconcile(self, spec: Mapping[str, Any]) -> None:
        """In the operator's order: ended pods, pods to delete, then up to `replicas`, any surplus at random."""
        asked = spec.get("scaleStrategy", {}).get("workersToDelete", [])
        for pod in self._of(spec):
            if pod["status"]["phase"] in _OVER or pod["metadata"]["name"] in asked:
                self._delete(pod)
        difference = spec.get("replicas", 0) - len(self._of(spec))
        for _ in range(max(0, difference)):
            if len(self.pods) >= self.quota:
                self._condition("ReplicaFailure", "pods is forbidden: exceeded quota: pods")
                return
            self._create(spec)
        for pod in self._random.sample(self._of(spec), max(0, -difference)):
            self._delete(pod)

    def _of(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        group = spec["groupName"]
        return [
            pod
            for pod in self.pods.values()
            if pod["metadata"]["labels"]["ray.io/group"] == group and "deletionTimestamp" not in pod["metadata"]
        ]

    def _create(self, spec: Mapping[str, Any]) -> None:
        self.made += 1
        cluster, group, template = self.ray_cluster["metadata"]["name"], spec["groupName"], deepcopy(spec["template"])
        metadata = template.get("metadata", {})
        labels = {"ray.io/cluster": cluster, "ray.io/group": group, "ray.io/node-type": "worker"}
        name = f"{cluster}-{group}-worker-{self._random.randbytes(3).hex()}"
        self.pods[name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.ray_cluster["metadata"]["namespace"],
                "creationTimestamp": self._stamp(),
                "labels": labels | metadata.get("labels", {}),
                "annotations": metadata.get("annotations", {}),
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
            "fake": {"created_at": self.clock()},
        }

    def _run(self, pod: dict[str, Any]) -> None:
        if pod["status"]["phase"] != "Pending":
            return
        if self.unschedulable:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            pod["status"]["conditions"] = [{**condition, "message": self.unschedulable}]
        elif self.image_error:
            waiting = {"reason": self.image_error, "message": "failed to pull the image"}
            pod["status"]["containerStatuses"] = [{"name": "worker", "state": {"waiting": waiting}}]
        elif self.clock() - pod["fake"]["created_at"] >= self.start_s:
            pod["spec"]["nodeName"] = "node-1"
            pod["status"] = {"phase": "Running"}

    def _delete(self, pod: dict[str, Any]) -> None:
        if "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = self._stamp()
            pod["fake"]["ends_at"] = self.clock() + self.end_s

    def _condition(self, kind: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": "FailedCreate", "lastTransitionTime": self._stamp()}
        condition["message"] = message
        self.ray_cluster.setdefault("status", {})["conditions"] = [condition]

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
