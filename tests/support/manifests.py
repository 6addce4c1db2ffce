"""The manifests of k8s/ as Kubernetes would get them: rendered offline, and what tests ask of them."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("ionos", "aws")
Resource = dict[str, Any]


@cache
def render(folder: Path) -> tuple[Resource, ...]:
    """All resources of a kustomization."""
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return tuple(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def of_kind(resources: tuple[Resource, ...], kind: str) -> dict[str, Resource]:
    """The resources of a kind by name."""
    return {r["metadata"]["name"]: r for r in resources if r["kind"] == kind}


def pod_templates(resources: tuple[Resource, ...]) -> Iterator[tuple[str, Resource]]:
    """Every pod template with a name for messages, wherever it lies."""
    for resource in resources:
        kind, spec, name = resource["kind"], resource.get("spec", {}), resource["metadata"]["name"]
        if kind in ("StatefulSet", "Job"):
            yield f"{kind} {name}", spec["template"]
        elif kind == "CronJob":
            yield f"{kind} {name}", spec["jobTemplate"]["spec"]["template"]
        elif kind == "RayCluster":
            yield "head", spec["headGroupSpec"]["template"]
            yield from ((f"workers {group['groupName']}", group["template"]) for group in spec["workerGroupSpecs"])


def containers(template: Resource) -> list[Resource]:
    """Its containers, those for its start included."""
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]
