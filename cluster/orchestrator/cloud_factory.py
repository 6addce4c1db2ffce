"""From settings to what the autoscaler is given: node types, budgets, paces, and the clouds with their keys.

Only the orchestrator, `aima down` and `aima sweep` call `provider`: no other process ever holds a cloud's key.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscaler.clouds.contract import CloudProvider
from autoscaler.clouds.registry import api_root, load_provider
from autoscaler.decisions.budget import Budget, Budgets
from autoscaler.decisions.decide import Policy
from autoscaler.errors import CloudError, KeyRefused, UnknownCloud
from autoscaler.fleet.spec import Pace
from autoscaler.types import NodeType
from cluster.config.credentials import runpod_key, vastai_key
from cluster.config.schema import LimitSettings, Settings
from cluster.orchestrator.ledger_file import LedgerFacts, OpenEntry
from cluster.orchestrator.unreachable import Unreachable

LOCAL, KUBERNETES = "local", "kubernetes"


@dataclass(frozen=True)
class _Rented:
    """A cloud reached over the internet: where its key comes from, the variable that names another API root,

    how often it is listed, and how late it may list what it has sold, in seconds.
    """

    key: Callable[[Mapping[str, str], Path], str]
    base_url_variable: str
    list_every_s: float = 5.0
    list_lag_s: float = 30.0


_RENTED = {
    "runpod": _Rented(runpod_key, "RUNPOD_API_BASE_URL"),
    "vastai": _Rented(vastai_key, "VAST_API_BASE_URL"),
}
_LOCAL_LIST_LAG_S = 3.0
# From the order to end a machine to its end, at most, where nothing goes wrong.
_END_S = 60.0
_KUBERNETES_LIST_EVERY_S, _KUBERNETES_LIST_LAG_S = 2.0, 15.0


def providers(
    settings: Settings,
    cluster_id: str,
    environment: Mapping[str, str],
    home: Path,
    clock: Callable[[], float],
    local: Callable[[], CloudProvider],
    ledger: LedgerFacts | None = None,
) -> dict[str, CloudProvider]:
    """What an orchestrator looks after: the configured clouds, and those at which the ledger has something open.

    An unreadable ledger may have something open wherever there is a key. Raises KeyRefused where a configured cloud has
    no key, unless something may be open: that is looked after first.
    """
    ledger, configured = ledger or LedgerFacts(), set(cloud_names(settings))
    names = configured | {entry.cloud for entry in ledger.open}
    if ledger.unreadable:
        names |= clouds_with_key(environment, home)
    made = reachable(sorted(names - {LOCAL}), settings, cluster_id, environment, home, clock, ledger.open)
    if not ledger.open and not ledger.unreadable:
        for name in sorted(unreachable(made)):
            provider(name, settings, cluster_id, environment, home, clock)
    return made | ({LOCAL: local()} if LOCAL in names else {})


def reachable(
    names: Iterable[str],
    settings: Settings,
    cluster_id: str,
    environment: Mapping[str, str],
    home: Path,
    clock: Callable[[], float],
    open_entries: Collection[OpenEntry] = (),
) -> dict[str, CloudProvider]:
    """Each of these clouds, or what stands in for it. Their open entries are known to them by whole names."""
    made: dict[str, CloudProvider] = {}
    for name in names:
        here = [entry for entry in open_entries if entry.cloud == name]
        known = [entry.name for entry in here]
        try:
            made[name] = provider(name, settings, cluster_id, environment, home, clock, known)
        except (CloudError, UnknownCloud) as error:
            left = f"; may still be billed there: {', '.join(map(str, here))}" if here else ""
            made[name] = Unreachable(name, f"{error}{left}")
    return made


def unreachable(clouds: Mapping[str, CloudProvider]) -> set[str]:
    """Those that cannot be asked."""
    return {name for name, cloud in clouds.items() if isinstance(cloud, Unreachable)}


def to_sweep(settings: Settings, bought_at: Collection[str], environment: Mapping[str, str], home: Path) -> set[str]:
    """Every cloud beyond this machine that may hold something: configured, in the ledger, or with a key here."""
    return {*cloud_names(settings), *bought_at, *clouds_with_key(environment, home)} - {LOCAL}


def provider(
    name: str,
    settings: Settings,
    cluster_id: str,
    environment: Mapping[str, str],
    home: Path,
    clock: Callable[[], float],
    known_names: Collection[str] = (),
) -> CloudProvider:
    """One cloud beyond this machine, with the key that `environment` or `home` holds. `clock` gives unix seconds.

    `known_names`: launches that are this cluster's whatever id they carry. Raises KeyRefused and UnknownCloud.
    """
    if name == KUBERNETES:
        return _kubernetes(settings, clock)
    if name not in _RENTED:
        raise UnknownCloud(name, (*_RENTED, KUBERNETES))
    return _rented(name, cluster_id, environment, home, clock, known_names)


def clouds_with_key(environment: Mapping[str, str], home: Path) -> set[str]:
    """The clouds for which there is a key here."""
    found = set()
    for name, rented in _RENTED.items():
        with contextlib.suppress(KeyRefused):
            rented.key(environment, home)
            found.add(name)
    return found


def api_addresses(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The API root of each cloud that is rented from. Raises CloudError where a variable holds no URL."""
    return {
        name: api_root(name, environment.get(_RENTED[name].base_url_variable, ""))
        for name in cloud_names(settings)
        if name in _RENTED
    }


def cloud_names(settings: Settings) -> tuple[str, ...]:
    """Every cloud that a node type may come from."""
    return tuple(sorted({cloud for shape in settings.node_types.values() for cloud in shape.clouds}))


def node_types(settings: Settings) -> list[NodeType]:
    """The settings' node types as the autoscaler knows them."""
    return [
        NodeType(
            name=name,
            resources={"CPU": shape.cpus, "GPU": shape.gpus},
            max_count=shape.max_count,
            clouds=tuple(shape.clouds),
            gpu_names=shape.gpu_names,
            gpu_memory_gib=shape.gpu_memory_gib,
            min_vcpus_per_gpu=shape.min_vcpus_per_gpu,
            min_reliability=shape.min_reliability,
            disk_gib=shape.disk_gib,
            min_cuda=shape.min_cuda,
            regions=shape.regions,
            trust=shape.trust,
            max_price_usd_per_hour=shape.max_price_usd_per_hour,
            race=shape.race,
            expected_work_s=shape.expected_work_s,
            min_download_mbps=shape.min_download_mbps,
            max_transfer_usd_per_gib=shape.max_transfer_usd_per_gib,
        )
        for name, shape in settings.node_types.items()
    ]


def budgets(settings: Settings) -> Budgets:
    """The settings' limits; warnings and draining are the same for every one of them."""
    own = settings.budgets

    def budget(limits: LimitSettings) -> Budget:
        return Budget(
            limits.per_hour_usd,
            limits.per_day_usd,
            limits.per_month_usd,
            warn_at=own.warn_at,
            drain=own.drain,
            commitment_s=own.commitment_s,
            ending_s=settings.scaling.drain_s + _END_S,
        )

    return Budgets(budget(own), {cloud: budget(limits) for cloud, limits in own.clouds.items()})


def policy(settings: Settings, clouds: Mapping[str, CloudProvider] | None = None) -> Policy:
    """When machines are given up, and how late each cloud may list what it has sold.

    `clouds`: all that are looked after; of those that the settings do not name, what runs there drains.
    """
    scaling = settings.scaling
    return Policy(
        list_lag_s=_LOCAL_LIST_LAG_S,
        list_lags_s={name: rented.list_lag_s for name, rented in _RENTED.items()}
        | {KUBERNETES: _KUBERNETES_LIST_LAG_S},
        join_timeout_s=scaling.join_timeout_s,
        max_age_s=scaling.max_age_s,
        unused_limit_s=scaling.unused_limit_s,
        drain_s=scaling.drain_s,
        cool_down_s=scaling.cool_down_s,
        retired=frozenset(clouds or ()) - frozenset(cloud_names(settings)),
        unreachable=frozenset(unreachable(clouds or {})),
    )


def pace() -> Pace:
    """How often each cloud is asked: this machine with every tick, others within their rate limits."""
    rented = {name: cloud.list_every_s for name, cloud in _RENTED.items()}
    return Pace(rented | {KUBERNETES: _KUBERNETES_LIST_EVERY_S})


def access_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What of `environment` gives access to clouds: for the orchestrator, and for nobody else."""
    names = {"RUNPOD_API_KEY", "VAST_API_KEY", *(rented.base_url_variable for rented in _RENTED.values())}
    return {name: value for name, value in environment.items() if name in names}


def _rented(
    name: str,
    cluster_id: str,
    environment: Mapping[str, str],
    home: Path,
    clock: Callable[[], float],
    known_names: Collection[str],
) -> CloudProvider:
    rented = _RENTED[name]
    options: dict[str, Any] = {"cluster_id": cluster_id, "api_key": rented.key(environment, home), "wall_clock": clock}
    options["known_names"] = known_names
    if base_url := environment.get(rented.base_url_variable):
        options["base_url"] = base_url
    return load_provider(name, **options)


def _kubernetes(settings: Settings, clock: Callable[[], float]) -> CloudProvider:
    own = settings.kubernetes
    options: dict[str, Any] = {"base_url": own.base_url} if own.base_url else {}
    return load_provider(
        KUBERNETES,
        cluster_id=own.ray_cluster,
        namespace=own.namespace,
        groups=own.groups,
        environment=own.environment,
        price_usd_per_hour=own.price_usd_per_hour,
        wall_clock=clock,
        **options,
    )
