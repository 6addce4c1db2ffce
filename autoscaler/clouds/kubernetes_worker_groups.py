"""A worker group of KubeRay as machines for launches: pure changes to a RayCluster, and pods read as instances.

KubeRay names pods itself and makes all pods of a group from one template, so a launch has to be written into the
template before its pod is made, and out of it afterwards ("stamped"). Every function returns JSON Patch operations.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from autoscaler.clouds.rows import excerpt, identifier, mapping, moment, prose, rows, text, whole
from autoscaler.errors import NoCapacity, RequestRefused
from autoscaler.types import Instance, InstanceStatus

CLUSTER_LABEL, GROUP_LABEL = "ray.io/cluster", "ray.io/group"
# On the template while a launch waits for its pod, and on that pod for ever.
LAUNCH_ANNOTATION = "aima/launch"
_VARIABLES_ANNOTATION = "aima/launch-variables"
# Reasons for a container to wait that waiting does not mend.
_HOPELESS = ("CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "InvalidImageName")
_PULLING = ("ErrImagePull", "ImagePullBackOff")
_OVER = ("Failed", "Succeeded")
Operation = dict[str, Any]


def stamped_launch(ray_cluster: Mapping[str, Any], group: str) -> str:
    """The launch that the group's template is stamped with, or ""."""
    template = _group(ray_cluster, group)[1]["template"]
    return str(template.get("metadata", {}).get("annotations", {}).get(LAUNCH_ANNOTATION, ""))


def grow(
    ray_cluster: Mapping[str, Any],
    group: str,
    pods: Sequence[Mapping[str, Any]],
    launch: str,
    environment: Mapping[str, str],
) -> list[Operation]:
    """One pod more, made from the template with the launch's name and environment in it.

    Raises NoCapacity at the group's maxReplicas, RequestRefused if there is no such group.
    """
    index, spec = _group(ray_cluster, group)
    staying = _staying(pods, _to_delete(spec))
    most = whole(spec.get("maxReplicas"))
    if most is not None and len(staying) >= most:
        raise NoCapacity(f"worker group {group} has its maximum of {most} pods")
    template = _without_stamp(spec["template"])
    metadata = template.setdefault("metadata", {}).setdefault("annotations", {})
    metadata[LAUNCH_ANNOTATION] = launch
    metadata[_VARIABLES_ANNOTATION] = ",".join(sorted(environment))
    container = template["spec"]["containers"][0]
    kept = [entry for entry in container.get("env", []) if entry["name"] not in environment]
    container["env"] = kept + [{"name": name, "value": value} for name, value in sorted(environment.items())]
    return [
        _set(index, "template", template),
        _set(index, "replicas", len(staying) + 1),
        _set(index, "scaleStrategy", {"workersToDelete": _still_there(spec, pods)}),
    ]


def settle(ray_cluster: Mapping[str, Any], group: str) -> list[Operation]:
    """The stamp taken off: what KubeRay makes from now on, such as a replacement for an evicted pod, is nobody's."""
    index, spec = _group(ray_cluster, group)
    return [_set(index, "template", _without_stamp(spec["template"]))]


def withdraw(ray_cluster: Mapping[str, Any], group: str, pods: Sequence[Mapping[str, Any]]) -> list[Operation]:
    """The wish for a pod that was never made taken back."""
    index, spec = _group(ray_cluster, group)
    return [*settle(ray_cluster, group), _set(index, "replicas", len(_staying(pods, _to_delete(spec))))]


def shrink(
    ray_cluster: Mapping[str, Any], group: str, pods: Sequence[Mapping[str, Any]], pod_name: str
) -> list[Operation]:
    """Exactly this pod less; nothing when it is asked for already.

    `replicas` becomes the count of the pods that stay, instead of one less than it was: so an eviction that has
    already taken a pod is not paid for with another one.
    """
    index, spec = _group(ray_cluster, group)
    to_delete = _still_there(spec, pods)
    if pod_name in to_delete:
        return []
    to_delete.append(pod_name)
    staying = _staying(pods, to_delete)
    waiting = stamped_launch(ray_cluster, group)
    expected = bool(waiting) and all(launch_of(pod) != waiting for pod in pods)
    return [
        _set(index, "replicas", len(staying) + expected),
        _set(index, "scaleStrategy", {"workersToDelete": to_delete}),
    ]


def pod_of(row: object) -> dict[str, Any] | None:
    """A row of a list of pods with what is read of it here, each of its kind; None when it has no name."""
    metadata, status = mapping(mapping(row).get("metadata")), mapping(mapping(row).get("status"))
    name = identifier(metadata.get("name"))
    if not name:
        return None
    launch = text(mapping(metadata.get("annotations")).get(LAUNCH_ANNOTATION))
    containers = (*rows(status.get("initContainerStatuses")), *rows(status.get("containerStatuses")))
    return {
        "metadata": {
            "name": name,
            "annotations": {LAUNCH_ANNOTATION: launch} if launch else {},
            "creationTimestamp": metadata.get("creationTimestamp"),
            "deletionTimestamp": metadata.get("deletionTimestamp"),
        },
        "spec": {"nodeName": text(mapping(mapping(row).get("spec")).get("nodeName"))},
        "status": {
            "phase": status.get("phase"),
            "reason": prose(status.get("reason")),
            "message": prose(status.get("message")),
            "waiting": [mapping(mapping(mapping(each).get("state")).get("waiting")) for each in containers],
            "conditions": [mapping(each) for each in rows(status.get("conditions"))],
        },
    }


def launch_of(pod: Mapping[str, Any]) -> str:
    """The launch that a pod was made for; a pod that KubeRay made by itself goes by its own name."""
    metadata = pod["metadata"]
    return str(metadata["annotations"].get(LAUNCH_ANNOTATION) or metadata["name"])


def as_instance(pod: Mapping[str, Any], to_delete: Iterable[str], price_usd_per_hour: float) -> Instance:
    """A pod as an instance; its id is the pod's name."""
    metadata = pod["metadata"]
    status, detail = _status(pod, metadata["name"] in to_delete)
    created_at, node = moment(metadata["creationTimestamp"]), pod["spec"]["nodeName"] or None
    return Instance(
        "kubernetes", metadata["name"], launch_of(pod), status, created_at, price_usd_per_hour, detail, node
    )


def to_delete(ray_cluster: Mapping[str, Any], group: str) -> list[str]:
    """The pods whose end has been asked for."""
    return _to_delete(_group(ray_cluster, group)[1])


def _status(pod: Mapping[str, Any], asked_to_end: bool) -> tuple[InstanceStatus, str]:
    status = pod["status"]
    if asked_to_end or pod["metadata"]["deletionTimestamp"]:
        return InstanceStatus.TERMINATING, ""
    phase, (reason, message) = status["phase"], _waiting(status)
    if phase in _OVER:
        return InstanceStatus.FAILED, f"{status['reason'] or phase}: {status['message']}".strip(": ")
    if reason in _HOPELESS:
        return InstanceStatus.FAILED, f"{reason}: {message}"
    if phase == "Running":
        return InstanceStatus.RUNNING, ""
    if phase not in ("Pending", None):
        return InstanceStatus.UNKNOWN, f"Kubernetes calls it {excerpt(phase)}: {status['reason']}".strip(": ")
    detail = f"{reason}: {message}" if reason in _PULLING else _unschedulable(status)
    return InstanceStatus.PENDING, detail


def _waiting(status: Mapping[str, Any]) -> tuple[str, str]:
    for waiting in status["waiting"]:
        if waiting:
            return prose(waiting.get("reason")), prose(waiting.get("message"))
    return "", ""


def _unschedulable(status: Mapping[str, Any]) -> str:
    for condition in status["conditions"]:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{prose(condition.get('reason'))}: {prose(condition.get('message'))}".strip(": ")
    return ""


def _group(ray_cluster: Mapping[str, Any], group: str) -> tuple[int, Mapping[str, Any]]:
    groups = [mapping(spec) for spec in rows(ray_cluster["spec"].get("workerGroupSpecs"))]
    for index, spec in enumerate(groups):
        if spec.get("groupName") == group:
            return index, spec
    names = ", ".join(text(spec.get("groupName")) for spec in groups) or "none"
    raise RequestRefused(f"the RayCluster has no worker group {group!r}; there are: {names}")


def _to_delete(spec: Mapping[str, Any]) -> list[str]:
    return [name for name in rows(mapping(spec.get("scaleStrategy")).get("workersToDelete")) if isinstance(name, str)]


def _still_there(spec: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """workersToDelete without those that are gone: KubeRay never shortens the list."""
    names = {pod["metadata"]["name"] for pod in pods}
    return [name for name in _to_delete(spec) if name in names]


def _staying(pods: Sequence[Mapping[str, Any]], to_delete: Iterable[str]) -> list[Mapping[str, Any]]:
    """The pods that KubeRay counts: an ended one it deletes and replaces, so it would be one too many."""
    leaving = set(to_delete)
    return [
        pod
        for pod in pods
        if pod["metadata"]["name"] not in leaving
        and not pod["metadata"]["deletionTimestamp"]
        and pod["status"]["phase"] not in _OVER
    ]


def _without_stamp(template: Mapping[str, Any]) -> dict[str, Any]:
    bare = deepcopy(dict(template))
    annotations = bare.get("metadata", {}).get("annotations", {})
    annotations.pop(LAUNCH_ANNOTATION, None)
    variables = set(annotations.pop(_VARIABLES_ANNOTATION, "").split(","))
    container = bare["spec"]["containers"][0]
    container["env"] = [entry for entry in container.get("env", []) if entry["name"] not in variables]
    return bare


def _set(index: int, field: str, value: Any) -> Operation:
    # "add" replaces a member that exists, and makes one that does not.
    return {"op": "add", "path": f"/spec/workerGroupSpecs/{index}/{field}", "value": value}
