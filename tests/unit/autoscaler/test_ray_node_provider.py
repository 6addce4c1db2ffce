"""What Ray's autoscaler sees and sends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    TAG_RAY_NODE_KIND,
    TAG_RAY_USER_NODE_TYPE,
)

from autoscaler.ray_node_provider import RayNodeProvider

WORKER = {"name": "w1", "running": False, "tags": {TAG_RAY_NODE_KIND: "worker", "ray-launch-request": "r-1"}}


class Orchestrator:
    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status, json={"nodes": [WORKER]} if request.method == "GET" else {})

    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
def provider(tmp_path: Path, orchestrator: Orchestrator) -> RayNodeProvider:
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    config = {
        "orchestrator_url": "http://orchestrator",
        "token_file": str(tmp_path / "token"),
        "head_instance_id": "the-head",
        "head_node_type": "head",
    }
    return RayNodeProvider(config, "cluster", httpx.MockTransport(orchestrator))


def test_the_head_is_listed_with_the_workers(provider: RayNodeProvider) -> None:
    assert provider.non_terminated_nodes({}) == ["the-head", "w1"]
    assert provider.node_tags("the-head")[TAG_RAY_NODE_KIND] == NODE_KIND_HEAD
    assert provider.is_running("the-head")
    assert not provider.is_running("w1")
    assert not provider.is_terminated("w1")
    assert provider.is_terminated("w2")


def test_tags_come_back_unchanged_and_filter(provider: RayNodeProvider) -> None:
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"}) == ["w1"]
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_HEAD}) == ["the-head"]
    assert provider.node_tags("w1") == WORKER["tags"]


def test_one_request_per_reading_with_the_token(provider: RayNodeProvider, orchestrator: Orchestrator) -> None:
    provider.non_terminated_nodes({})
    provider.node_tags("w1")
    provider.is_running("w1")
    provider.is_terminated("w1")
    (request,) = orchestrator.requests
    assert (request.method, request.url.path) == ("GET", "/v1/nodes")
    assert request.headers["Authorization"] == "Bearer secret"


def test_a_failing_read_raises_and_keeps_the_last_reading(
    provider: RayNodeProvider, orchestrator: Orchestrator
) -> None:
    provider.non_terminated_nodes({})
    orchestrator.status = 503
    with pytest.raises(httpx.HTTPError):
        provider.non_terminated_nodes({})
    assert not provider.is_terminated("w1")


def test_create_asks_for_machines_of_the_type(provider: RayNodeProvider, orchestrator: Orchestrator) -> None:
    tags = {TAG_RAY_USER_NODE_TYPE: "gpu", "ray-launch-request": "r-1"}
    provider.create_node_with_resources_and_labels({}, tags, 2, {"GPU": 1.0}, {})
    assert orchestrator.requests[-1].url.path == "/v1/nodes"
    assert orchestrator.body() == {"node_type": "gpu", "count": 2, "tags": tags}


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
