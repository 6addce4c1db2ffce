"""What Ray's autoscaler sees and sends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    TAG_RAY_NODE_KIND,
    TAG_RAY_USER_NODE_TYPE,
)
from ray.autoscaler.v2.schema import NodeInfo, NodeUsage, ResourceUsage

from autoscaler.ray_gcs import RayGcs
from autoscaler.ray_node_provider import RayNodeProvider

W1 = "cluster-gpu-01234567"
WORKER = {"name": W1, "running": False, "tags": {TAG_RAY_NODE_KIND: "worker", "ray-launch-request": "r-1"}}


class Orchestrator:
    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status = 200
        self.cuts = 0
        self.nodes: list[dict[str, Any]] = [WORKER]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.cuts:
            self.cuts -= 1
            raise httpx.ReadError("cut", request=request)
        if request.url.path == "/v1/nodes:observe":
            return httpx.Response(204)
        return httpx.Response(self.status, json={"nodes": self.nodes} if request.method == "GET" else {"names": []})

    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


class Ray:
    """Stands for RayGcs."""

    def __init__(self) -> None:
        self.used = {"GPU": 1.0}
        self.down = False
        self.drained: list[tuple[str, str, int]] = []
        self.removed: list[tuple[str, str]] = []
        self.refuses = False
        self.asked = 0
        self.names = ["cluster-head", W1, "foreign", "elsewhere-gpu-0a1b2c3d"]

    def nodes(self) -> list[NodeInfo]:
        self.asked += 1
        if self.down:
            raise TimeoutError("GCS")
        usage = NodeUsage([ResourceUsage(name, 4.0, used) for name, used in self.used.items()], idle_time_ms=0)
        nodes = [NodeInfo("i", "gpu", name, "127.77.0.2", "RUNNING", f"id of {name}", usage) for name in self.names]
        for node in nodes:
            node.node_activity = ["Busy workers on node."]
        return nodes

    def drain(self, node_id: str, reason: str, deadline_ms: int) -> None:
        if self.refuses:
            raise RuntimeError("no")
        self.drained.append((node_id, reason, deadline_ms))

    def remove(self, node_id: str, reason: str) -> None:
        if self.refuses:
            raise RuntimeError("no")
        self.removed.append((node_id, reason))


@pytest.fixture
def ray() -> Ray:
    return Ray()


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
def provider(tmp_path: Path, orchestrator: Orchestrator, ray: Ray, request: pytest.FixtureRequest) -> RayNodeProvider:
    """With all patches, or those that a test names by its parameter."""
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    config = {
        "orchestrator_url": "http://orchestrator",
        "token_file": str(tmp_path / "token"),
        "gcs_address": "gcs:1",
        "head_instance_id": "cluster-head",
        "head_node_type": "head",
        "ray_patches": getattr(request, "param", ["node_drain", "node_removal"]),
    }
    transport = httpx.MockTransport(orchestrator)

    def gcs(address: str) -> RayGcs:
        assert address == "gcs:1"
        return cast("RayGcs", ray)

    return RayNodeProvider(config, "cluster", transport, gcs, lambda: 1000.0)


def test_the_head_is_listed_with_the_workers(provider: RayNodeProvider) -> None:
    assert provider.non_terminated_nodes({}) == ["cluster-head", W1]
    assert provider.node_tags("cluster-head")[TAG_RAY_NODE_KIND] == NODE_KIND_HEAD
    assert provider.is_running("cluster-head")
    assert not provider.is_running(W1)
    assert not provider.is_terminated(W1)
    assert provider.is_terminated("w2")


def test_tags_come_back_unchanged_and_filter(provider: RayNodeProvider) -> None:
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"}) == [W1]
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_HEAD}) == ["cluster-head"]
    assert provider.node_tags(W1) == WORKER["tags"]


def test_one_request_per_reading_with_the_token(provider: RayNodeProvider, orchestrator: Orchestrator) -> None:
    provider.non_terminated_nodes({})
    provider.node_tags(W1)
    provider.is_running(W1)
    provider.is_terminated(W1)
    reading, _activity = orchestrator.requests
    assert (reading.method, reading.url.path) == ("GET", "/v1/nodes")
    assert reading.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("used", "in_use"),
    [
        ({"GPU": 1.0}, True),
        ({"CPU": 0.5, "GPU": 0.0}, True),
        ({"GPU": 0.0, "object_store_memory": 118109.0, "memory": 1.0, "node:127.77.0.2": 0.001}, False),
    ],
)
def test_with_each_reading_it_tells_what_ray_says_of_our_nodes(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray, used: dict[str, float], in_use: bool
) -> None:
    ray.used = used
    provider.non_terminated_nodes({})
    assert orchestrator.requests[-1].url.path == "/v1/nodes:observe"
    assert orchestrator.body() == {"nodes": [{"name": W1, "in_use": in_use, "reasons": ["Busy workers on node."]}]}


def test_a_reading_is_good_without_the_activity(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray
) -> None:
    ray.down = True
    assert provider.non_terminated_nodes({}) == ["cluster-head", W1]
    assert len(orchestrator.requests) == 1


def test_a_node_that_is_to_take_no_new_work_is_drained_once_with_a_deadline_of_the_heads_clock(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray
) -> None:
    orchestrator.nodes = [WORKER | {"drain": None}]
    provider.non_terminated_nodes({})
    assert ray.drained == []
    orchestrator.nodes = [WORKER | {"drain": {"left_s": 90.5, "reason": "used up"}}]
    ray.refuses = True
    assert provider.non_terminated_nodes({}) == ["cluster-head", W1]
    ray.refuses = False
    provider.non_terminated_nodes({})
    provider.non_terminated_nodes({})
    assert ray.drained == [(f"id of {W1}", "used up", 1_090_500)]


def test_a_node_whose_machine_is_gone_is_removed_from_ray_and_nobody_elses(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray
) -> None:
    provider.non_terminated_nodes({})
    assert ray.removed == []
    orchestrator.nodes = []
    ray.refuses = True
    assert provider.non_terminated_nodes({}) == ["cluster-head"]
    assert ray.removed == []
    ray.refuses = False
    provider.non_terminated_nodes({})
    assert ray.removed == [(f"id of {W1}", f"the machine of {W1} is gone")]


@pytest.mark.parametrize("provider", [[], ["node_drain"], ["node_removal"]], indirect=True, ids=str)
def test_stock_ray_is_neither_told_to_drain_nor_to_remove_a_node_and_tells_all_the_same(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray, request: pytest.FixtureRequest
) -> None:
    patches = request.node.callspec.params["provider"]
    gone, orchestrator.nodes = "cluster-gpu-76543210", [WORKER | {"drain": {"left_s": 90.5, "reason": "used up"}}]
    ray.names = [W1, gone]
    provider.non_terminated_nodes({})
    assert bool(ray.drained) == ("node_drain" in patches)
    assert bool(ray.removed) == ("node_removal" in patches)
    assert [node["name"] for node in orchestrator.body()["nodes"]] == [W1]


def test_what_fails_for_one_node_keeps_nothing_else_from_being_done(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray
) -> None:
    gone, orchestrator.nodes = "cluster-gpu-76543210", [WORKER | {"drain": {"left_s": 90.5, "reason": "used up"}}]
    ray.names, ray.refuses = [W1, gone], True
    provider.non_terminated_nodes({})
    assert orchestrator.requests[-1].url.path == "/v1/nodes:observe"
    assert [node["name"] for node in orchestrator.body()["nodes"]] == [W1]


def test_a_head_that_starts_anew_removes_what_went_meanwhile(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray
) -> None:
    orchestrator.nodes = []
    provider.non_terminated_nodes({})
    assert [node_id for node_id, _reason in ray.removed] == [f"id of {W1}"]


def test_ray_is_not_asked_while_there_is_no_worker(
    provider: RayNodeProvider, orchestrator: Orchestrator, ray: Ray
) -> None:
    orchestrator.nodes, ray.names = [], ["cluster-head"]
    for _ in range(3):
        provider.non_terminated_nodes({})
    assert ray.asked == 1
    orchestrator.nodes = [WORKER]
    provider.non_terminated_nodes({})
    assert ray.asked == 2


def test_a_failing_read_raises_and_keeps_the_last_reading(
    provider: RayNodeProvider, orchestrator: Orchestrator
) -> None:
    provider.non_terminated_nodes({})
    orchestrator.status = 503
    with pytest.raises(httpx.HTTPError):
        provider.non_terminated_nodes({})
    assert not provider.is_terminated(W1)


def test_create_asks_for_machines_of_the_type(provider: RayNodeProvider, orchestrator: Orchestrator) -> None:
    tags = {TAG_RAY_USER_NODE_TYPE: "gpu", "ray-launch-request": "r-1"}
    provider.create_node_with_resources_and_labels({}, tags, 2, {"GPU": 1.0}, {})
    assert orchestrator.requests[-1].url.path == "/v1/nodes"
    call_id = orchestrator.body()["call_id"]
    assert orchestrator.body() == {"node_type": "gpu", "count": 2, "tags": tags, "call_id": call_id}
    provider.create_node_with_resources_and_labels({}, tags, 2, {"GPU": 1.0}, {})
    assert orchestrator.body()["call_id"] != call_id


def test_a_create_whose_answer_was_cut_is_repeated_under_its_id(
    provider: RayNodeProvider, orchestrator: Orchestrator
) -> None:
    orchestrator.cuts = 1
    provider.create_node_with_resources_and_labels({}, {TAG_RAY_USER_NODE_TYPE: "gpu"}, 1, {}, {})
    first, second = (json.loads(request.content) for request in orchestrator.requests)
    assert first == second


def test_terminate_names_the_machines(provider: RayNodeProvider, orchestrator: Orchestrator) -> None:
    provider.terminate_nodes(["w1", "w2"])
    assert orchestrator.requests[-1].url.path == "/v1/nodes:terminate"
    assert orchestrator.body() == {"names": ["w1", "w2"]}
    provider.terminate_node("w3")
    assert orchestrator.body() == {"names": ["w3"]}


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.create_node_with_resources_and_labels({}, {TAG_RAY_USER_NODE_TYPE: "gpu"}, 1, {}, {}),
        lambda p: p.terminate_node("w1"),
    ],
)
def test_a_refused_write_raises(
    provider: RayNodeProvider, orchestrator: Orchestrator, call: Callable[[RayNodeProvider], None]
) -> None:
    orchestrator.status = 500
    with pytest.raises(httpx.HTTPError):
        call(provider)
