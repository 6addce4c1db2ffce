"""Ray Data for one job: without the detached actors that it would share among all jobs of a cluster.

It starts three for the first dataset. One keeps statistics for a page that nobody here has; one asks for more nodes as
soon as they could be used, which a job may not; one knows on which node each actor is. Each takes 1 to 2 s of a core
to import Ray Data, just while the models are loaded, and 100 MiB. They outlive the job and keep its node busy.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import ray
from ray.data import DataContext, ExecutionResources
from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
from ray.data._internal.execution import streaming_executor
from ray.data._internal.execution.operators import actor_pool_map_operator
from ray.data._internal.stats import _StatsManager
from ray.data._internal.utils.cache import timed_cache
from ray.experimental import internal_kv

_log = logging.getLogger(__name__)
# Of the keys that name the nodes of actors.
NAMESPACE = b"aima_actor_locations"


class AllowedResources(ClusterAutoscaler):  # type: ignore[misc]
    """Asks for no nodes: the job's actors that wait for theirs do. A dataset may use what its options allow it."""

    def __init__(self, allowed: ExecutionResources) -> None:
        self._allowed = allowed

    def try_trigger_scaling(self) -> None:
        """Never."""

    def on_executor_shutdown(self) -> None:
        """Nothing was asked for."""

    def get_total_resources(self) -> ExecutionResources:
        """CPUs and GPUs as allowed, whether their nodes have come or not; the memory that the cluster has now."""
        cluster = ray.cluster_resources()
        memory = {name: cluster.get(name, 0.0) for name in ("memory", "object_store_memory")}
        return ExecutionResources(cpu=self._allowed.cpu, gpu=self._allowed.gpu, **memory)


class _Update:
    """As of an actor's method: what an actor of Ray Data calls when it has begun, or begun again elsewhere."""

    def remote(self, actor_id: str, node_id: str) -> None:
        internal_kv._internal_kv_put(_key(actor_id), node_id.encode(), namespace=NAMESPACE)


class ActorLocations:
    """Where actors are, kept by Ray's control service. Travels to the actors in the place of an actor's handle."""

    update_actor_location = _Update()


@timed_cache(ttl=1)  # type: ignore[untyped-decorator]
def actor_locations(actor_ids: tuple[str, ...]) -> dict[str, str]:
    """{Ray Data's id of an actor: its node's id}, of those that have begun."""
    found = {actor_id: internal_kv._internal_kv_get(_key(actor_id), namespace=NAMESPACE) for actor_id in actor_ids}
    return {actor_id: node_id.decode() for actor_id, node_id in found.items() if node_id}


def _key(actor_id: str) -> bytes:
    return f"{ray.get_runtime_context().get_job_id()}:{actor_id}".encode()


@contextlib.contextmanager
def replaced() -> Iterator[None]:
    """Datasets that are carried out in this block start no detached actor. Where Ray has moved, stock Ray Data runs."""
    with contextlib.ExitStack() as stack:
        try:
            for owner, values in _replacements():
                stack.enter_context(_replaced(owner, **values))
        except KeyError as error:
            _log.warning("Ray patch data_actors does not apply: Ray Data has no %s", error)
            stack.close()
        try:
            yield
        finally:
            internal_kv._internal_kv_del(_key(""), del_by_prefix=True, namespace=NAMESPACE)


def _replacements() -> Iterator[tuple[Any, dict[str, Any]]]:
    def allowed(_topology: Any, _resources: Any, context: DataContext, **_options: Any) -> AllowedResources:
        return AllowedResources(context.execution_options.resource_limits)

    def unread(*_arguments: Any, **_options: Any) -> None:
        """Statistics that nobody reads."""

    statistics = ("update_execution_metrics", "update_iteration_metrics", "register_dataset_to_stats_actor")
    yield streaming_executor, {"create_cluster_autoscaler": allowed}
    yield (
        actor_pool_map_operator,
        {"get_or_create_actor_location_tracker": ActorLocations, "get_actor_locations": actor_locations},
    )
    yield (
        _StatsManager,
        {
            "gen_dataset_id_from_stats_actor": staticmethod(lambda: uuid4().hex),
            **dict.fromkeys(statistics, staticmethod(unread)),
        },
    )


@contextlib.contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    """The owner's attributes have these values in the block. Raises KeyError for one that it has not."""
    before = {name: vars(owner)[name] for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
