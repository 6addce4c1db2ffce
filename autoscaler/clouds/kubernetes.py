"""CPU workers as pods of our own cluster: KubeRay's worker groups, scaled by replicas and workersToDelete.

How a launch finds its pod. KubeRay names pods itself (random suffix) and makes all pods of a group from one template.
So a purchase writes the launch's name and environment into the template in the same patch that raises `replicas` by
one: the pod that KubeRay makes of it carries the name as an annotation from its first moment, and is found by it after
any crash. Then the name is taken out of the template. One launch at a time: a second raise before the first pod exists
would make two pods of the second name, so purchases wait for each other and for their pods (usually a second or two).

What can go wrong, and what then holds:
- We die after the patch: the pod carries the name (adopted), or the next patch's count of pods takes the wish back.
- KubeRay does not make the pod (quota, operator down): the wish is withdrawn and the purchase is no capacity.
- A pod is evicted or ends: KubeRay makes another by itself, with nobody's name: it is listed under its own name,
  claimed by no launch and swept. If it happens before the name was taken out, it is a double and ended as one.
- Two writers: every patch names the version it was made from; a conflict changed nothing and is made anew.
- `replicas` is always set to the count of pods that stay, so it cannot drift; only a pod that ends by itself between
  our listing and our patch, within milliseconds, can make KubeRay choose a pod to delete.
It lists and never watches, so there is no watch to drop. Pods that wait for a node are instances like all others: the
end of their demand ends them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoscaler.clouds import kubernetes_worker_groups
from autoscaler.clouds.kubernetes_api import IN_CLUSTER_URL, SERVICE_ACCOUNT, Conflict, KubernetesApi, NotFound
from autoscaler.clouds.rate_limits import CallKind, bounded_s
from autoscaler.clouds.rows import SkippedRows, excerpt, mapping, prose, rows
from autoscaler.errors import CloudError, ListingFailed, NoCapacity, OutcomeUnknown, RateLimited
from autoscaler.types import Instance, LaunchRequest, NodeType, Offer, SkippedRow, Trust

_CONFLICT_TRIES = 5
_POLL_S = 0.5
_USUAL_BOOT_S = 30.0
Sleep = Callable[[float], Awaitable[None]]
Change = Callable[[dict[str, Any], list[dict[str, Any]]], list[dict[str, Any]]]


class Provider:
    """The worker groups of one RayCluster. `groups` maps node types to worker groups; all prices are the nodes'.

    `environment`: variables that pods get instead of what rented machines are told, such as a way to the hub that stays
    inside the cluster. `pod_wait_s`: how long KubeRay may take to make a pod object, scheduled or not.
    """

    name = "kubernetes"

    def __init__(
        self,
        cluster_id: str,
        namespace: str,
        groups: Mapping[str, str],
        base_url: str = IN_CLUSTER_URL,
        credentials: Path = SERVICE_ACCOUNT,
        price_usd_per_hour: float = 0.0,
        region: str = "own cluster",
        environment: Mapping[str, str] | None = None,
        pod_wait_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._ray_cluster, self._groups = cluster_id, dict(groups)
        self._api = KubernetesApi(base_url, namespace, credentials, wall_clock)
        self._price, self._region, self._pod_wait_s = price_usd_per_hour, region, pod_wait_s
        self._environment = dict(environment or {})
        self._clock, self._sleep = clock, sleep
        self._buying = asyncio.Lock()
        self._skipped = SkippedRows()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """The worker group of the node type, if it has one."""
        group = self._groups.get(node_type.name)
        if group is None:
            return []
        return [Offer(self.name, group, None, self._price, _USUAL_BOOT_S, self._region, Trust.OWN, gpu_count=0)]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Raise the group by one pod and wait until KubeRay has made it. The image and command are the template's."""
        group, launch = request.offer.offer_id, request.name
        environment = {**request.environment, **self._environment}
        async with self._buying:
            await self._change(
                group, lambda cluster, pods: kubernetes_worker_groups.grow(cluster, group, pods, launch, environment)
            )
            pod = await self._pod_of(group, launch)
            if pod is None:
                pod = await self._withdraw(group, launch)
            await self._settle(group)
        return kubernetes_worker_groups.as_instance(pod, (), self._price)

    async def list_instances(self) -> list[Instance]:
        """Every pod of our groups, whoever made it. Raises ListingFailed."""
        try:
            cluster = await self._api.ray_cluster(self._ray_cluster)
            found = [(group, await self._pods(group)) for group in self._groups.values()]
        except CloudError as error:
            raise ListingFailed(str(error)) from error
        return [
            kubernetes_worker_groups.as_instance(pod, kubernetes_worker_groups.to_delete(cluster, group), self._price)
            for group, pods in found
            for pod in pods
        ]

    def skipped_rows(self) -> list[SkippedRow]:
        """Pods of the latest answers that could not be read."""
        return self._skipped.all()

    async def instance_exists(self, instance_id: str) -> bool:
        """Whether any of our groups has a pod of this name."""
        for group in self._groups.values():
            if any(pod["metadata"]["name"] == instance_id for pod in await self._pods(group)):
                return True
        return False

    async def terminate_instance(self, instance_id: str) -> None:
        """Ask KubeRay to delete exactly this pod; it may be asked for twice, and when it is gone."""
        try:
            for group in self._groups.values():
                if any(pod["metadata"]["name"] == instance_id for pod in await self._pods(group)):
                    await self._end(group, instance_id)
        except RateLimited as error:  # what is not ended costs on: it is asked for again soon, whatever the server says
            raise RateLimited(str(error), bounded_s(CallKind.END, error.retry_after_s)) from None

    async def _end(self, group: str, pod_name: str) -> None:
        await self._change(group, lambda cluster, pods: kubernetes_worker_groups.shrink(cluster, group, pods, pod_name))

    async def log_excerpt(self, instance_id: str) -> str:
        """Why the pod does not run, as Kubernetes puts it."""
        return next((i.detail for i in await self.list_instances() if i.instance_id == instance_id), "")

    async def _change(self, group: str, change: Change) -> None:
        """Read, decide, patch; made anew on a conflict. Raises NoCapacity when others are always faster."""
        for _try in range(_CONFLICT_TRIES):
            try:
                cluster = await self._api.ray_cluster(self._ray_cluster)
            except NotFound:
                raise NoCapacity(f"there is no RayCluster {self._ray_cluster}: apply k8s/ first") from None
            operations = change(cluster, await self._pods(group))
            if not operations:
                return
            try:
                await self._api.patch_ray_cluster(self._ray_cluster, cluster["metadata"]["resourceVersion"], operations)
            except Conflict:
                continue
            return
        raise NoCapacity(f"the RayCluster changed {_CONFLICT_TRIES} times while it was being changed")

    async def _pod_of(self, group: str, launch: str) -> dict[str, Any] | None:
        """The launch's pod as soon as it exists; None when it does not within `pod_wait_s`."""
        deadline = self._clock() + self._pod_wait_s
        while True:
            try:
                pod = _made_for(launch, await self._pods(group))
            except CloudError as error:  # the pod may exist: it will be found by its name
                raise OutcomeUnknown(f"the wish for a pod was accepted, then {error}") from None
            if pod is not None or self._clock() >= deadline:
                return pod
            await self._sleep(_POLL_S)

    async def _withdraw(self, group: str, launch: str) -> dict[str, Any]:
        """Take the wish back, unless the pod was made meanwhile. Raises NoCapacity with KubeRay's reason."""
        made: list[dict[str, Any]] = []

        def change(cluster: dict[str, Any], pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
            pod = _made_for(launch, pods)
            made[:] = [] if pod is None else [pod]
            return [] if made else kubernetes_worker_groups.withdraw(cluster, group, pods)

        try:
            await self._change(group, change)
        except CloudError as error:
            raise OutcomeUnknown(f"KubeRay has made no pod, and the wish cannot be withdrawn: {error}") from None
        if made:
            return made[0]
        raise NoCapacity(
            f"KubeRay has made no pod of worker group {group} within {self._pod_wait_s:.0f} s: {await self._why()}"
        )

    async def _why(self) -> str:
        try:
            status = (await self._api.ray_cluster(self._ray_cluster)).get("status", {})
        except CloudError as error:
            return str(error)
        conditions = [mapping(condition) for condition in rows(mapping(status).get("conditions"))]
        failed = [prose(c.get("message")) for c in conditions if c.get("type") == "ReplicaFailure" and c.get("message")]
        return "; ".join(failed) or prose(mapping(status).get("reason")) or "is the operator running?"

    async def _settle(self, group: str) -> None:
        """Take the launch's name out of the template. If that fails, the next purchase does it."""
        try:
            await self._change(group, lambda cluster, _pods: kubernetes_worker_groups.settle(cluster, group))
        except CloudError:
            return

    async def _pods(self, group: str) -> list[dict[str, Any]]:
        labels = {
            kubernetes_worker_groups.CLUSTER_LABEL: self._ray_cluster,
            kubernetes_worker_groups.GROUP_LABEL: group,
        }
        kind = f"pod of worker group {group}"
        self._skipped.begin(kind)
        found = {}
        for row in await self._api.pods(labels):
            pod = kubernetes_worker_groups.pod_of(row)
            if pod is None:
                self._skipped.add(kind, SkippedRow(kind, f"it has no name: {excerpt(row)}"))
            else:
                found[pod["metadata"]["name"]] = pod  # a page may repeat what moved on meanwhile
        return list(found.values())


def _made_for(launch: str, pods: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return next((pod for pod in pods if kubernetes_worker_groups.launch_of(pod) == launch), None)
