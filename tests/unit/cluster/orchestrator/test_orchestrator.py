"""What each token opens at the orchestrator: its scope, and nothing beyond."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from fastapi.testclient import TestClient
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE
from ray.autoscaler.v2.schema import NodeInfo, NodeUsage, ResourceUsage

from autoscaler.billing.comparison import BilledMachine, Bounds, Comparison, Verdict
from autoscaler.billing.records import Skipped
from autoscaler.ray_gcs import RayGcs
from autoscaler.ray_node_provider import RayNodeProvider
from autoscaler.types import DRAINING, IntentState
from cluster.config.schema import Settings
from cluster.config.state_directory import TOKENS, ClusterCard, StateDir
from cluster.orchestrator.api import create_app
from cluster.orchestrator.orchestrator import Orchestrator
from cluster.overlay.addresses import node_address
from tests.waiting import wait_until

CALLS: dict[str, tuple[str, str, Any]] = {
    "list nodes": ("GET", "/v1/nodes", None),
    "buy": ("POST", "/v1/nodes", {"node_type": "gpu", "count": 1, "tags": {}, "call_id": "c"}),
    "tell activity": ("POST", "/v1/nodes:observe", {"nodes": []}),
    "end": ("POST", "/v1/nodes:terminate", {"names": []}),
    "end everything": ("POST", "/v1/drain", None),
    "check the bills": ("POST", "/v1/bills:check", None),
    "read the fleet": ("GET", "/v1/fleet", None),
}
SCOPES = {
    "nobody's": set(),
    "api": set(),
    "ray": set(),
    "join": set(),
    "report": set(),
    "fleet": {"read the fleet"},
    "nodes": set(CALLS),
}


@pytest.fixture
def orchestrator(tmp_path: Path) -> Orchestrator:
    settings = Settings(state_dir=tmp_path / "state").resolved()
    state = StateDir(settings.state_dir)
    state.prepare()
    host, base_port = node_address(0).host, node_address(0).base_port
    return Orchestrator(settings, state, ClusterCard("c1", host, base_port, "http://api", "http://o", 0.0))


@pytest.fixture
def http(orchestrator: Orchestrator) -> Iterator[TestClient]:
    """Its API; the reconciler does not run."""
    client = TestClient(create_app(orchestrator))
    yield client
    client.close()


@pytest.fixture
def name(orchestrator: Orchestrator) -> str:
    """A launch that is wanted."""
    wait_until("the ledger is read", orchestrator.reconciler.ready, 60)
    return orchestrator.reconciler.demand.launch("gpu", 1, {"ray": "tag"}, "call")[0]


@pytest.fixture
def tokens(orchestrator: Orchestrator, name: str) -> dict[str, str]:
    """Every token there is, by whose it is."""
    joined = orchestrator.reconciler.demand.launch("gpu", 1, {}, "another")[0]
    report = orchestrator.admit(joined, orchestrator.joins.issue(joined))["report_token"]
    own = {"nobody's": "guessed", "join": orchestrator.joins.issue(name), "report": report}
    return own | {each: orchestrator.state.token(each) for each in TOKENS}


@pytest.mark.parametrize(("holder", "opens"), SCOPES.items())
def test_a_token_opens_its_scope_and_nothing_else(
    http: TestClient, tokens: dict[str, str], holder: str, opens: set[str]
) -> None:
    headers = {"Authorization": f"Bearer {tokens[holder]}"}
    answers = {
        what: http.request(method, path, headers=headers, json=body).status_code
        for what, (method, path, body) in CALLS.items()
        if what != "end everything" or holder != "nodes"  # it would wait for the reconciler
    }
    assert {what for what, status in answers.items() if status != 401} == opens & answers.keys()
    assert all(status < 300 for what, status in answers.items() if what in opens)


def test_every_token_has_a_scope() -> None:
    assert {"nobody's", "join", "report", *TOKENS} == SCOPES.keys()


def test_without_any_token_nothing_answers(http: TestClient) -> None:
    assert {http.request(method, path, json=body).status_code for method, path, body in CALLS.values()} == {401}
    assert {http.get(path).status_code for path in ("/", "/docs", "/openapi.json")} == {404}


def test_what_can_be_read_holds_no_secret(http: TestClient, orchestrator: Orchestrator, tokens: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {tokens['nodes']}"}
    read = http.get("/v1/fleet", headers=headers).text + http.get("/v1/nodes", headers=headers).text
    assert not [holder for holder, token in tokens.items() if token in read]
    assert str(orchestrator.settings.database_url) not in read


def test_a_worker_reports_for_itself_only_and_its_join_token_is_good_for_one_join(
    http: TestClient, tokens: dict[str, str], name: str
) -> None:
    as_reporter = {"Authorization": f"Bearer {tokens['report']}"}
    assert http.post("/v1/joined", headers=as_reporter, json={"name": name}).status_code == 403
    joining = {"name": name, "token": tokens["join"]}
    assert http.post("/v1/join", json=joining | {"name": "another"}).status_code == 403
    assert http.post("/v1/join", json=joining).status_code == 200
    assert http.post("/v1/join", json=joining).status_code == 403


def test_ray_hears_which_node_takes_no_new_work_and_for_how_long(
    http: TestClient, orchestrator: Orchestrator, tokens: dict[str, str], name: str
) -> None:
    headers = {"Authorization": f"Bearer {tokens['nodes']}"}
    orchestrator.reconciler.reports.phase(name, DRAINING, ago_s=30.0)
    drains = {n["name"]: n["drain"] for n in http.get("/v1/nodes", headers=headers).json()["nodes"]}
    assert [other for other, drain in drains.items() if drain] == [name]
    assert drains[name]["left_s"] == pytest.approx(orchestrator.settings.scaling.drain_s - 30.0, abs=2.0)


def test_rays_node_provider_and_it_understand_one_another(
    http: TestClient, orchestrator: Orchestrator, name: str, tmp_path: Path
) -> None:
    """Both as they are: a stand-in for one of them can answer what it never would."""
    token = tmp_path / "nodes-token"
    token.write_text(orchestrator.state.token("nodes"), encoding="utf-8")
    config = {"orchestrator_url": "http://o", "token_file": str(token), "gcs_address": "gcs:1"}
    head = {"head_instance_id": "c1-head", "head_node_type": "head", "ray_patches": ["node_drain", "node_removal"]}
    usage = NodeUsage([ResourceUsage("GPU", 1.0, 1.0)], idle_time_ms=0)
    gcs = Mock(spec=RayGcs)
    gcs.nodes.return_value = [
        NodeInfo("i", "gpu", instance, "127.77.0.2", "RUNNING", f"id of {instance}", usage)
        for instance in ("c1-head", name, "c1-gpu-01234567")
    ]

    def ask(request: httpx.Request) -> httpx.Response:
        method, path, headers = request.method, request.url.path, dict(request.headers)
        answer = http.request(method, path, headers=headers, content=request.content)
        return httpx.Response(answer.status_code, content=answer.content)

    provider = RayNodeProvider(config | head, "c1", httpx.MockTransport(ask), lambda _address: gcs, lambda: 1000.0)
    assert set(provider.non_terminated_nodes({})) == {"c1-head", name}
    gcs.remove.assert_called_once_with("id of c1-gpu-01234567", "the machine of c1-gpu-01234567 is gone")
    gcs.drain.assert_not_called()
    orchestrator.reconciler.reports.phase(name, DRAINING, ago_s=30.0)
    provider.non_terminated_nodes({})
    (node_id, _reason, deadline_ms), _ = gcs.drain.call_args
    assert node_id == f"id of {name}"
    assert deadline_ms / 1000 == pytest.approx(1000.0 + orchestrator.settings.scaling.drain_s - 30.0, abs=2.0)
    provider.create_node_with_resources_and_labels({}, {TAG_RAY_USER_NODE_TYPE: "gpu"}, 1, {}, {})
    (other,) = set(provider.non_terminated_nodes({})) - {"c1-head", name}
    provider.terminate_nodes([name, other])
    launches = {intent.name: intent.state for intent in orchestrator.reconciler.demand.nodes()}
    assert launches == dict.fromkeys((name, other), IntentState.ENDING)


def test_what_it_writes_is_for_its_user_only(orchestrator: Orchestrator, name: str) -> None:
    state = orchestrator.state.path
    orchestrator.joins.issue(name)
    written = [state, *state.rglob("*")]
    assert {path.name for path in written} >= {"ledger.db", "pending.json", "tokens"}
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_a_bill_that_differs_stands_in_status_and_metrics(orchestrator: Orchestrator, http: TestClient) -> None:
    headers = {"Authorization": f"Bearer {orchestrator.state.token('fleet')}"}
    assert "aima_bill_differs 1.0" not in http.get("/metrics", headers=headers).text
    machine = BilledMachine("runpod", "i1", "n1", 1.0, 9.0, Verdict.TOO_HIGH)
    records = orchestrator.bills._records
    records.create_tables()
    records.keep(Comparison("runpod", (machine,), 0.5, Bounds()), Skipped(), 1000.0)
    orchestrator.bills._refresh()
    fleet = http.get("/v1/fleet", headers=headers).json()
    assert fleet["bills"][0]["machines"][0]["name"] == "n1"
    assert "runpod has billed 9.00 USD where the ledger has 1.00" in fleet["spending"]["warnings"][-1]
    metrics = http.get("/metrics", headers=headers).text
    assert 'aima_bill_differs{cloud="runpod"} 1.0' in metrics
    assert 'aima_bill_difference_usd{cloud="runpod"} 8.0' in metrics
