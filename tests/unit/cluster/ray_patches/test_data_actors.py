"""What a job's datasets do without exists under these names in the installed Ray, and is only theirs."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
from ray.data import DataContext, ExecutionResources
from ray.data._internal import stats
from ray.data._internal.execution import streaming_executor
from ray.data._internal.execution.operators import actor_pool_map_operator
from ray.data._internal.usage import collector

from cluster.ray_patches import data_actors
from pipelines.batch import run


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """In the place of Ray's control service."""
    kept: dict[bytes, bytes] = {}

    def put(key: bytes, value: bytes, *, namespace: bytes) -> None:
        assert namespace == data_actors.NAMESPACE
        kept[key] = value

    def delete(prefix: bytes, *, del_by_prefix: bool, namespace: bytes) -> None:
        assert (del_by_prefix, namespace) == (True, data_actors.NAMESPACE)
        for key in [key for key in kept if key.startswith(prefix)]:
            del kept[key]

    store = "ray.experimental.internal_kv._internal_kv"
    monkeypatch.setattr(f"{store}_put", put)
    monkeypatch.setattr(f"{store}_get", lambda key, namespace: kept.get(key))
    monkeypatch.setattr(f"{store}_del", delete)
    monkeypatch.setattr(data_actors, "_key", lambda actor_id: f"job:{actor_id}".encode())
    return kept


def of_ray() -> list[Any]:
    manager = stats._StatsManager
    return [
        streaming_executor.create_cluster_autoscaler,
        actor_pool_map_operator.get_or_create_actor_location_tracker,
        actor_pool_map_operator.get_actor_locations,
        *(value for name, value in vars(manager).items() if not name.startswith("_")),
    ]


def test_what_is_replaced_is_rays_again_afterwards(kept: dict[bytes, bytes]) -> None:
    def failing_job() -> None:
        with data_actors.replaced():
            assert not set(before) & set(of_ray())
            raise RuntimeError("a job has failed")

    before = of_ray()
    with pytest.raises(RuntimeError, match="a job has failed"):
        failing_job()
    assert of_ray() == before


def test_a_ray_data_that_lacks_a_name_runs_as_it_is(
    kept: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(stats._StatsManager, "update_execution_metrics")
    before = of_ray()
    with data_actors.replaced():
        assert of_ray() == before
    assert "data_actors does not apply: Ray Data has no 'update_execution_metrics'" in caplog.text


def test_a_job_that_fails_fails_as_it_does(kept: dict[bytes, bytes]) -> None:
    with pytest.raises(KeyError, match="of the job"), data_actors.replaced():
        raise KeyError("of the job")


@pytest.mark.parametrize("named", ["", "cluster.ray_patches.data_actors:replaced"])
def test_a_job_does_what_its_node_says(named: str, kept: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMA_AROUND_DATASETS", named)
    before = of_ray()
    with run.around_datasets():
        assert (of_ray() == before) is not bool(named)


@pytest.mark.parametrize("named", ["no_such_module:replaced", "cluster.ray_patches.data_actors:no_such_function"])
def test_a_job_runs_on_stock_ray_data_where_the_node_names_what_is_not_there(
    named: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIMA_AROUND_DATASETS", named)
    before = of_ray()
    with run.around_datasets():
        assert of_ray() == before
    assert "Ray Data as it is" in caplog.text


def test_ray_is_not_told_how_it_is_used_where_a_node_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public way in place of a patch: cluster/worker/ray_node.py and cluster/head/start.py set it."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    assert collector.usage_collection_disabled()


def test_statistics_are_written_by_way_of_their_manager_only() -> None:
    sources = Path(stats.__file__).parents[1].rglob("*.py")
    users = {path.name for path in sources if "get_or_create_stats_actor" in path.read_text(encoding="utf-8")}
    assert users == {"stats.py"}
    outside = inspect.getsource(stats).replace(inspect.getsource(stats._StatsManager), "")
    assert outside.count("get_or_create_stats_actor()") == 2, "its definition, and a property for people"


def test_ray_data_knows_no_other_process_that_outlives_a_job() -> None:
    """One more in another Ray would keep a worker for ever."""
    data = Path(stats.__file__).parents[1]
    found = {path.stem for path in data.rglob("*.py") if 'lifetime="detached"' in path.read_text(encoding="utf-8")}
    replaced = {"stats", "default_autoscaling_coordinator", "actor_location", "actor"}
    unused = {"autoscaling_requester"}
    asked_for = {"stats_summary_actor", "memory_tracing", "disk_shuffle_runtime", "disk_shuffle_tasks"}
    assert found == replaced | unused | asked_for
    wishes = {field.name: field.default for field in fields(DataContext)}
    assert not wishes["enable_stats_summary_collection"]
    assert not wishes["trace_allocations"]


def test_what_a_job_sets_is_known_to_ray_data() -> None:
    """A name that Ray Data does not know is taken in silence."""
    names = {field.name for field in fields(DataContext)}
    set_here = set(re.findall(r"\bcontext\.(\w+) = ", inspect.getsource(run)))
    assert len(set_here) >= 3
    assert set_here <= names


def test_a_dataset_may_use_what_it_is_allowed_before_its_nodes_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 1.0, "object_store_memory": 5.0, "memory": 7.0})
    limits = data_actors.AllowedResources(ExecutionResources(cpu=3, gpu=2))
    limits.try_trigger_scaling()
    limits.on_executor_shutdown()
    assert limits.get_total_resources() == ExecutionResources(cpu=3, gpu=2, object_store_memory=5, memory=7)


def test_where_an_actor_has_begun_last_is_known_until_the_job_ends(kept: dict[bytes, bytes]) -> None:
    kept[b"another job:a"] = b"node0"
    with data_actors.replaced():
        tracker = actor_pool_map_operator.get_or_create_actor_location_tracker()
        tracker.update_actor_location.remote("a", "node1")
        tracker.update_actor_location.remote("a", "node2")
        assert actor_pool_map_operator.get_actor_locations(("a", "begins")) == {"a": "node2"}
    assert kept == {b"another job:a": b"node0"}
