"""What only the kubernetes provider does: launches written into a template, exact deletions, wishes withdrawn."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.clouds.kubernetes import Provider
from autoscaler.clouds.kubernetes_worker_groups import LAUNCH_ANNOTATION
from autoscaler.errors import CloudError, KeyRefused, ListingFailed, NoCapacity, OutcomeUnknown, RequestRefused
from autoscaler.types import InstanceStatus, NodeType
from tests.support.clouds.kubernetes import InCluster, crd_schema, in_cluster, ray_cluster
from tests.support.clouds.specs import require_spec


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def cloud(tmp_path: Path, runner: asyncio.Runner) -> Iterator[InCluster]:
    with in_cluster(tmp_path, runner) as cloud:
        yield cloud


def environment_of(pod: dict[str, object]) -> dict[str, str]:
    container = pod["spec"]["containers"][0]  # type: ignore[index]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_a_pod_carries_its_launch_and_environment_and_the_next_one_does_not(cloud: InCluster) -> None:
    created = [cloud.create(cloud.name(number)) for number in (1, 2, 3)]
    pods = {pod["metadata"]["name"]: pod for pod in cloud.pods()}
    assert {i.instance_id for i in created} == set(pods)
    for instance in created:
        pod = pods[instance.instance_id]
        assert pod["metadata"]["annotations"][LAUNCH_ANNOTATION] == instance.name
        assert environment_of(pod) == {"KEPT": "1", "GREETING": "hello you"}
    template = cloud.group["template"]
    assert LAUNCH_ANNOTATION not in template["metadata"]["annotations"]
    assert template["spec"]["containers"][0]["env"] == [{"name": "KEPT", "value": "1"}]
    assert cloud.group["replicas"] == 3


def test_pods_can_be_told_a_way_of_their_own(cloud: InCluster, tmp_path: Path) -> None:
    url = str(cloud.provider._api._http.base_url)  # type: ignore[attr-defined]
    own = {"GREETING": "from inside", "AIMA_HUB": "aima-overlay:2222"}
    clock = cloud.clock
    provider = Provider("aima", "aima", {"gpu": "cpu"}, url, tmp_path, environment=own, clock=clock, sleep=clock.sleep)
    inside = InCluster(provider, cloud.runner, "aima", server=cloud.server, clock=clock)
    inside.create(inside.name())
    (pod,) = cloud.pods()
    assert environment_of(pod) == {"KEPT": "1", **own}
    inside.run(provider.close())


def test_another_group_is_neither_listed_nor_touched(cloud: InCluster) -> None:
    created = cloud.create(cloud.name())
    other = [p["metadata"]["name"] for p in cloud.kuberay.pods.values() if p["metadata"]["name"] != created.instance_id]
    assert len(other) == 1
    cloud.terminate(other[0])
    assert [i.instance_id for i in cloud.list()] == [created.instance_id]
    assert cloud.kuberay.ray_cluster["spec"]["workerGroupSpecs"][0]["replicas"] == 1


def test_exactly_the_named_pod_ends_and_asking_twice_ends_no_other(cloud: InCluster) -> None:
    first, second, third = (cloud.create(cloud.name(number)) for number in (1, 2, 3))
    for _ in range(3):
        cloud.terminate(second.instance_id)
    listed = cloud.listed(second.name)
    assert listed is not None
    assert listed.status is InstanceStatus.TERMINATING
    cloud.clock.now += 10
    cloud.list()
    cloud.clock.now += 10
    assert {i.instance_id for i in cloud.list()} == {first.instance_id, third.instance_id}
    assert cloud.group["replicas"] == 2
    cloud.terminate(first.instance_id)
    assert cloud.group["scaleStrategy"]["workersToDelete"] == [first.instance_id], "the list never shrinks by itself"


def test_a_pod_without_a_node_is_pending_with_the_reason_and_withdrawn_when_its_demand_ends(cloud: InCluster) -> None:
    cloud.kuberay.unschedulable = "0/1 nodes are available: 1 Insufficient cpu."
    created = cloud.create(cloud.name())
    cloud.clock.now += 60
    listed = cloud.listed(created.name)
    assert listed is not None
    assert (listed.status, listed.created_at) == (InstanceStatus.PENDING, created.created_at)
    assert "Insufficient cpu" in listed.detail
    assert "Insufficient cpu" in cloud.run(cloud.provider.log_excerpt(created.instance_id))
    cloud.terminate(created.instance_id)
    cloud.clock.now += 2
    cloud.list()
    cloud.clock.now += 2
    assert cloud.list() == []
    assert cloud.group["replicas"] == 0


@pytest.mark.parametrize(
    ("reason", "status"),
    [("ImagePullBackOff", InstanceStatus.PENDING), ("InvalidImageName", InstanceStatus.FAILED)],
)
def test_image_errors_are_told(cloud: InCluster, reason: str, status: InstanceStatus) -> None:
    cloud.kuberay.image_error = reason
    created = cloud.create(cloud.name())
    listed = cloud.listed(created.name)
    assert listed is not None
    assert listed.status is status
    assert reason in listed.detail


def test_an_evicted_pods_replacement_is_nobodys_and_the_others_live(cloud: InCluster) -> None:
    first, second = cloud.create(cloud.name(1)), cloud.create(cloud.name(2))
    cloud.kuberay.evict(first.instance_id)
    cloud.clock.now += 5
    listed = cloud.list()
    foreign = [i for i in listed if i.name not in (first.name, second.name)]
    assert len(foreign) == 1
    assert foreign[0].name == foreign[0].instance_id
    cloud.terminate(foreign[0].instance_id)
    for _ in range(4):
        cloud.clock.now += 5
        assert second.instance_id in {i.instance_id for i in cloud.list()}
    assert [i.instance_id for i in cloud.list()] == [second.instance_id]
    assert cloud.group["replicas"] == 1


def test_a_failed_pod_is_listed_as_failed_until_the_operator_removes_it(cloud: InCluster) -> None:
    created = cloud.create(cloud.name())
    cloud.kuberay.stopped = True
    cloud.kuberay.evict(created.instance_id)
    listed = cloud.listed(created.name)
    assert listed is not None
    assert listed.status is InstanceStatus.FAILED
    assert "Evicted: The node was low on memory." in listed.detail


def test_conflicts_are_met_with_another_reading(cloud: InCluster) -> None:
    cloud.server.conflicts = 3
    created = cloud.create(cloud.name())
    assert [i.instance_id for i in cloud.list()] == [created.instance_id]
    cloud.server.conflicts = 100
    with pytest.raises(NoCapacity, match="changed 5 times"):
        cloud.create(cloud.name(2))
    cloud.server.conflicts = 0
    assert len(cloud.pods()) == 1


def test_a_pod_that_is_never_made_is_withdrawn_and_the_reason_told(cloud: InCluster) -> None:
    cloud.kuberay.quota = 1  # the other group's pod
    cloud.kuberay.advance()
    with pytest.raises(NoCapacity, match="exceeded quota"):
        cloud.create(cloud.name())
    assert cloud.group["replicas"] == 0
    cloud.kuberay.quota = 100
    cloud.clock.now += 60
    assert cloud.list() == []
    cloud.create(cloud.name(2))


def test_without_an_operator_it_says_so(cloud: InCluster) -> None:
    cloud.kuberay.stopped = True
    with pytest.raises(NoCapacity, match="is the operator running"):
        cloud.create(cloud.name())


def test_the_groups_maximum_is_kept(tmp_path: Path, runner: asyncio.Runner) -> None:
    with in_cluster(tmp_path, runner, max_replicas=1) as cloud:
        cloud.create(cloud.name(1))
        with pytest.raises(NoCapacity, match="maximum of 1"):
            cloud.create(cloud.name(2))


@pytest.mark.parametrize("status", [500, 503])
def test_a_change_whose_answer_was_lost_is_unknown_and_found_by_its_name(cloud: InCluster, status: int) -> None:
    cloud.server.done, cloud.server.answers["PATCH ray cluster"] = True, [(status, "{}")]
    with pytest.raises(OutcomeUnknown):
        cloud.create(cloud.name())
    cloud.clock.now += 5
    listed = cloud.listed(cloud.name())
    assert listed is not None
    second = cloud.create(cloud.name(2))
    assert {i.name for i in cloud.list()} == {cloud.name(), second.name}


def test_after_a_crash_between_wish_and_pod_another_launch_gets_its_own(cloud: InCluster, tmp_path: Path) -> None:
    """The first wish is overwritten before the operator has seen it: one pod, of the second launch."""
    cloud.kuberay.operator_lag_s = 5.0
    cloud.server.done, cloud.server.answers["PATCH ray cluster"] = True, [(500, "{}")]
    with pytest.raises(OutcomeUnknown):
        cloud.create(cloud.name(1))
    created = cloud.create(cloud.name(2))
    cloud.clock.now += 30
    assert [i.name for i in cloud.list()] == [created.name]
    assert len(cloud.pods()) == 1


def test_purchases_at_the_same_moment_get_a_pod_each(cloud: InCluster) -> None:
    requests = [cloud.request(cloud.name(number)) for number in range(4)]

    async def all_of_them() -> None:
        await asyncio.gather(*(cloud.provider.create_instance(request) for request in requests))

    cloud.run(all_of_them())
    assert sorted(i.name for i in cloud.list()) == sorted(request.name for request in requests)
    assert len(cloud.pods()) == 4


@pytest.mark.parametrize("body", ['{"items": null}', "{}", "<html>", "[]"])
def test_a_list_that_cannot_be_trusted_raises(cloud: InCluster, body: str) -> None:
    cloud.create(cloud.name())
    for what in ("GET pods", "GET ray cluster"):
        for answer in ((200, body), (500, "{}"), (403, "{}"), (404, "{}"), (429, "{}")):
            cloud.server.answers[what] = [answer]
            with pytest.raises(ListingFailed):
                cloud.list()
    assert len(cloud.list()) == 1


def test_pages_are_followed(cloud: InCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        cloud.create(cloud.name(number))
    monkeypatch.setattr("autoscaler.clouds.kubernetes_api._PAGE_SIZE", "3")
    assert len(cloud.list()) == 4


def test_the_token_is_read_anew_when_it_rotates(cloud: InCluster, tmp_path: Path) -> None:
    cloud.server.token = "rotated"
    with pytest.raises(CloudError, match="Unauthorized"):
        cloud.list()
    (tmp_path / "token").write_text("rotated", encoding="utf-8")
    assert cloud.list() == []
    (tmp_path / "token").unlink()
    with pytest.raises(KeyRefused, match="cannot be read"):
        cloud.create(cloud.name())


def test_it_never_watches_and_touches_nothing_but_pods_and_the_ray_cluster(cloud: InCluster) -> None:
    created = cloud.create(cloud.name())
    cloud.terminate(created.instance_id)
    cloud.list()
    pods, cluster = "/api/v1/namespaces/aima/pods", "/apis/ray.io/v1/namespaces/aima/rayclusters/aima"
    assert set(cloud.server.calls) == {f"GET {pods}", f"GET {cluster}", f"PATCH {cluster}"}


def test_a_node_type_without_a_group_has_no_offer(cloud: InCluster) -> None:
    assert cloud.run(cloud.provider.list_offers(NodeType("tpu", {}, 1, ("kubernetes",)))) == []


def test_a_wrong_name_in_the_settings_is_told(tmp_path: Path, cloud: InCluster) -> None:
    url = str(cloud.provider._api._http.base_url)  # type: ignore[attr-defined]
    for cluster, group, says in (("nobody", "cpu", "no RayCluster nobody"), ("aima", "cpus", "there are: other, cpu")):
        provider = Provider(cluster, "aima", {"gpu": group}, url, tmp_path, clock=cloud.clock, sleep=cloud.clock.sleep)
        wrong = InCluster(provider, cloud.runner, server=cloud.server, clock=cloud.clock)
        with pytest.raises((NoCapacity, RequestRefused), match=says):
            wrong.create("aima-gpu-00000009")
        cloud.run(provider.close())


def test_the_fake_refuses_what_the_published_schema_refuses() -> None:
    require_spec("kuberay")
    schema = crd_schema()
    assert schema is not None
    assert schema.violations(ray_cluster()) == []
    wrong = ray_cluster()
    wrong["spec"]["workerGroupSpecs"][1]["replicas"] = "three"
    wrong["spec"]["workerGroupSpecs"][1]["scaleStrategy"] = {"workerToDelete": []}
    problems = " ".join(schema.violations(wrong))
    assert "'three' is not of type 'integer'" in problems
    assert "workerToDelete" in problems


ODD_PODS = [
    7,
    None,
    {},
    {"metadata": None},
    {"metadata": {"name": None}},
    {"metadata": {"name": "odd-1", "annotations": None, "creationTimestamp": None}, "status": None, "spec": None},
    {"metadata": {"name": "odd-2", "annotations": [], "creationTimestamp": 7}, "status": {"phase": 7}, "spec": []},
    {"metadata": {"name": "odd-3"}, "status": {"phase": "Hibernating", "containerStatuses": [7], "conditions": [None]}},
]


def test_odd_pods_leave_the_others(cloud: InCluster) -> None:
    created = cloud.create(cloud.name())
    (pod,) = cloud.pods()
    body = json.dumps({"kind": "PodList", "metadata": {}, "items": [*ODD_PODS, cloud.kuberay.public(pod), pod]})
    cloud.server.answers["GET pods"] = [(200, body)] * 3
    listed = {instance.instance_id: instance for instance in cloud.list()}
    assert set(listed) == {created.instance_id, "odd-1", "odd-2", "odd-3"}
    assert listed[created.instance_id].name == created.name
    assert len(cloud.provider.skipped_rows()) == 5
    assert [listed[f"odd-{n}"].status for n in (2, 3)] == [InstanceStatus.UNKNOWN] * 2
    assert "Hibernating" in listed["odd-3"].detail
    assert listed["odd-2"].created_at in (None, 7.0)
    cloud.terminate(created.instance_id)


@pytest.mark.parametrize(
    "body",
    [
        '{"items": [], "metadata": {"continue": "1"}}',
        '{"items": [], "metadata": {"continue": {}}}',
        '{"items": null}',
        '{"items": {}}',
        '""',
        "[" * 100_000,
    ],
)
def test_pages_that_lie_are_no_list(cloud: InCluster, body: str) -> None:
    cloud.server.answers["GET pods"] = [(200, body)] * 9
    with pytest.raises(ListingFailed):
        cloud.list()
    assert len(cloud.server.answers["GET pods"]) >= 6
