"""The kubernetes provider against a fake API server with KubeRay under it, on a clock that only tests move."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from autoscaler.clouds.kubernetes import Provider
from autoscaler.fakes.kuberay import Kuberay
from autoscaler.fakes.kubernetes import ApiServer, StrictSchema, create_app
from autoscaler.fakes.serving import serving
from tests.support.clouds.providers import Clock, Cloud
from tests.support.clouds.specs import SPECS

CRD = SPECS / "kuberay-v1.7.0-rayclusters-crd.yaml"
TOKEN = "service-account-token"


@cache
def crd_schema() -> StrictSchema | None:
    """The published schema of RayCluster v1, or None where it is not at hand."""
    if not CRD.exists():
        return None
    versions = yaml.load(CRD.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    return StrictSchema(next(v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"))


def ray_cluster(max_replicas: int = 4) -> dict[str, Any]:
    """A RayCluster with two worker groups and nothing running."""

    def template(image: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "worker", "image": image, "env": [{"name": "KEPT", "value": "1"}]}]}}

    group = {"minReplicas": 0, "maxReplicas": max_replicas, "replicas": 0}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "aima", "namespace": "aima", "resourceVersion": "41"},
        "spec": {
            "headGroupSpec": {"template": template("head"), "rayStartParams": {}},
            "workerGroupSpecs": [
                {"groupName": "other", "template": template("other"), **group, "replicas": 1},
                {"groupName": "cpu", "template": template("worker"), **group},
            ],
        },
    }


@dataclass
class InCluster(Cloud):
    """The provider, and the inside of the cluster that it talks to."""

    server: ApiServer = field(kw_only=True)
    clock: Clock = field(kw_only=True)

    @property
    def kuberay(self) -> Kuberay:
        return self.server.kuberay

    @property
    def group(self) -> dict[str, Any]:
        return dict(self.kuberay.ray_cluster["spec"]["workerGroupSpecs"][1])

    def pods(self) -> list[dict[str, Any]]:
        """The group's pods that nobody has asked to end."""
        self.kuberay.advance()
        return [
            pod
            for pod in self.kuberay.pods.values()
            if pod["metadata"]["labels"]["ray.io/group"] == "cpu" and "deletionTimestamp" not in pod["metadata"]
        ]


@contextlib.contextmanager
def in_cluster(folder: Path, runner: asyncio.Runner, max_replicas: int = 4, **switches: Any) -> Iterator[InCluster]:
    """The provider and its fake API server; `switches` are Kuberay's."""
    clock = Clock()
    kuberay = Kuberay(clock, ray_cluster(max_replicas), **switches)
    server = ApiServer(kuberay, TOKEN, crd_schema())
    (folder / "token").write_text(TOKEN + "\n", encoding="utf-8")
    with serving(create_app(server)) as url:
        provider = Provider("aima", "aima", {"gpu": "cpu"}, url, folder, clock=clock, sleep=clock.sleep)
        yield InCluster(provider, runner, "aima", server=server, clock=clock)
        runner.run(provider.close())
