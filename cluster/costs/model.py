"""What a configuration costs while it idles, and what an analysis costs on top. Pure sums over a dated price table.

Money is in the currency that the table names for a provider; GPUs are in USD. A month has `hours_per_month` hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MIB_PER_GIB = 1024
# What kubelet, container runtime and kernel keep of a node's memory: by the published rule of GKE, which others are
# near to: a quarter of the first 4 GiB, a fifth of the next 4.
_RESERVED = ((4.0, 0.25), (4.0, 0.20), (8.0, 0.10))


class PriceTableError(ValueError):
    """The price table or the configuration lacks something; the message names it and the way out."""


@dataclass(frozen=True)
class Item:
    """One line of a bill per month, and where its price is from."""

    name: str
    per_month: float
    source: str


@dataclass(frozen=True)
class Bill:
    """A month of idling."""

    title: str
    currency: str
    items: tuple[Item, ...]

    @property
    def per_month(self) -> float:
        return sum(item.per_month for item in self.items)


@dataclass(frozen=True)
class GpuUse:
    """One purchase of a GPU: seconds until it works, of work, and until the bill ends after the last result."""

    boot_s: float
    work_s: float
    tail_s: float

    def cost_usd(self, usd_per_hour: float) -> float:
        """All seconds are billed, not only those of work."""
        return usd_per_hour * (self.boot_s + self.work_s + self.tail_s) / 3600


def estimates(table: Mapping[str, Any]) -> list[Bill]:
    """The founding document's tables, as they stand there."""
    return [
        Bill(
            f"{name} (founding estimate)",
            estimate["currency"],
            tuple(Item(i["name"], float(i["per_month"]), estimate["source"]) for i in estimate["items"]),
        )
        for name, estimate in table["estimates"].items()
    ]


def idle_bill(table: Mapping[str, Any], provider: str, configuration: Mapping[str, Any]) -> Bill:
    """A month of the configuration at a provider: the node or the pods that really hold it, storage, queue, entrance.

    Raises PriceTableError for an unknown provider, or where no node of it is large enough.
    """
    prices = table["providers"].get(provider)
    if prices is None:
        raise PriceTableError(f"provider {provider!r} has no prices; the table has: {', '.join(table['providers'])}")
    hours = float(table["hours_per_month"])
    items = [_item("Kubernetes control plane", prices["control_plane"])]
    items += (
        _pod_items(prices, configuration, hours) if "pods" in prices else [_node_item(prices, configuration, hours)]
    )
    items += _managed_items(prices, configuration)
    for key, name, amount in _storage(configuration):
        items.append(_item(name, prices[key], amount))
    items.append(_item("entrance (overlay port and HTTPS)", prices["load_balancer"]))
    if configuration["queue"] == "database":
        items.append(Item("message queue: in the database", 0.0, "AIMA's default"))
    return Bill(f"{provider}, like for like", prices["currency"], tuple(items))


def holding_node(nodes: Sequence[Mapping[str, Any]], vcpus: float, mib: float, hours: float) -> Mapping[str, Any]:
    """The cheapest node that has room for the requests beside what it keeps for itself. Raises PriceTableError."""
    large = [n for n in nodes if n["vcpus"] >= vcpus and allocatable_gib(n["gib"]) * _MIB_PER_GIB >= mib]
    if not large:
        raise PriceTableError(f"no node of the table holds {vcpus:g} vCPUs and {mib:.0f} MiB; add a larger one")
    return min(large, key=lambda node: _per_month(node, hours))


def allocatable_gib(gib: float) -> float:
    """What pods can have of a node's memory."""
    left, kept = gib, 0.0
    for size, share in _RESERVED:
        kept += min(left, size) * share
        left = max(0.0, left - size)
    return gib - kept


def pod_size(prices: Mapping[str, Any], vcpus: float, mib: float) -> tuple[float, float]:
    """The smallest billed size (vCPUs, GiB) that holds a pod and the platform's overhead. Raises PriceTableError."""
    gib = mib / _MIB_PER_GIB + prices["overhead_gib"]
    fitting = [(s["vcpus"], g) for s in prices["sizes"] if s["vcpus"] >= vcpus for g in s["gib"] if g >= gib]
    if not fitting:
        raise PriceTableError(f"no pod size of the table holds {vcpus:g} vCPUs and {gib:.2f} GiB; add a larger one")
    return min(fitting, key=lambda size: size[0] * prices["per_vcpu_hour"] + size[1] * prices["per_gib_hour"])


def break_even_purchases_per_month(table: Mapping[str, Any], usd_per_hour: float, use: GpuUse) -> float:
    """How many such purchases a month cost as much as a GPU that is never given back."""
    return usd_per_hour * float(table["hours_per_month"]) / use.cost_usd(usd_per_hour)


def break_even_work_s(usd_per_hour: float, serverless_usd_per_hour: float, use: GpuUse) -> float | None:
    """Work per purchase (s) from which a bought GPU is cheaper than a serverless one that bills work alone.

    None where serverless is no dearer by the second: then it always wins.
    """
    if serverless_usd_per_hour <= usd_per_hour:
        return None
    overhead_s = use.boot_s + use.tail_s
    return usd_per_hour * overhead_s / (serverless_usd_per_hour - usd_per_hour)


def _node_item(prices: Mapping[str, Any], configuration: Mapping[str, Any], hours: float) -> Item:
    pods = [*configuration["pods"], configuration["system"]]
    vcpus, mib = sum(pod["vcpus"] for pod in pods), sum(pod["mib"] for pod in pods)
    node = holding_node(prices["nodes"], vcpus, mib, hours)
    name = f"node {node['name']}, holds {vcpus:g} vCPUs and {mib:.0f} MiB of requests"
    return Item(name, _per_month(node, hours), _source(node))


def _pod_items(prices: Mapping[str, Any], configuration: Mapping[str, Any], hours: float) -> list[Item]:
    pods, managed = prices["pods"], prices.get("managed", {})
    items = []
    for pod in [*configuration["pods"], configuration["system"]]:
        if pod.get("managed_as") in managed:
            continue
        vcpus, gib = pod_size(pods, pod["vcpus"], pod["mib"])
        per_hour = vcpus * pods["per_vcpu_hour"] + gib * pods["per_gib_hour"]
        items.append(Item(f"pod {pod['name']}: {vcpus:g} vCPU / {gib:g} GB", per_hour * hours, pods["source"]))
    return items


def _managed_items(prices: Mapping[str, Any], configuration: Mapping[str, Any]) -> list[Item]:
    managed = prices.get("managed", {})
    wanted = [pod["managed_as"] for pod in configuration["pods"] if pod.get("managed_as") in managed]
    if configuration["queue"] in managed:
        wanted.append(configuration["queue"])
    return [_item(managed[name]["name"], managed[name]) for name in wanted]


def _storage(configuration: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    volume, objects = configuration["volume_gib"], configuration["object_storage_gb"]
    return [
        ("volume_gib", f"volumes ({volume:g} GiB)", volume),
        ("object_storage_gb", f"object storage ({objects:g} GB)", objects),
    ]


def _item(name: str, price: Mapping[str, Any], amount: float = 1.0) -> Item:
    return Item(name, float(price["per_month"]) * amount, _source(price))


def _per_month(node: Mapping[str, Any], hours: float) -> float:
    return float(node["per_month"]) if "per_month" in node else float(node["per_hour"]) * hours


def _source(price: Mapping[str, Any]) -> str:
    return str(price["source"])
