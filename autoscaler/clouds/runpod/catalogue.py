"""RunPod's catalogue: a need as a query, and GPU types of a tier as offers."""

from collections.abc import Iterator, Mapping
from typing import Any

from autoscaler.clouds.rows import excerpt, identifier, mapping, number, rows, text, whole
from autoscaler.decisions.needs import Machine, gpu_count, unmet, version_key
from autoscaler.types import NodeType, Offer, Trust

TIERS = {"SECURE": Trust.SECURE, "COMMUNITY": Trust.COMMUNITY}
_AVAILABILITY = {"LOW": 0.5, "MEDIUM": 0.8, "HIGH": 0.95}
# Published: a container's disk costs 0.10 USD per GB and month.
_DISK_USD_PER_GIB_HOUR = 0.10 / 730
# Reported: 15 to 33 s with the image on the host, minutes without it.
_USUAL_BOOT_S = 90.0


def query_of(node_type: NodeType, tier: str) -> dict[str, str]:
    """What the catalogue is asked for a need."""
    query = {"include": "AVAILABILITY", "product": "POD", "count": str(gpu_count(node_type)), "cloud": tier}
    return query | ({"minCudaVersion": cuda(node_type.min_cuda)} if node_type.min_cuda else {})


def unreadable(gpu: object, tier: str) -> str:
    """Why no price or limit of this GPU type can be read, or "". What is not sold in the tier needs none."""
    row, key = mapping(gpu), tier.lower()
    if not text(row.get("id")) or not text(row.get("name")):
        return f"it has no id or name: {excerpt(gpu)}"
    if row.get(key) is False:
        return ""
    if number(mapping(row.get("price")).get(key)) is None:
        return f"its price cannot be read: {excerpt(row.get('price'))}"
    if whole(mapping(row.get("maxCount")).get(key)) is None:
        return f"its maxCount cannot be read: {excerpt(row.get('maxCount'))}"
    return "" if number(row.get("memory")) else f"its memory cannot be read: {excerpt(row.get('memory'))}"


def offers_of(gpu: Mapping[str, Any], tier: str, node_type: NodeType) -> Iterator[Offer]:
    """What the tier sells of this GPU type for the need, anywhere or, when regions are asked for, by data centre."""
    key, count = tier.lower(), gpu_count(node_type)
    price = number(mapping(gpu.get("price")).get(key)) or 0.0
    most = whole(mapping(gpu.get("maxCount")).get(key)) or 0
    if not gpu.get(key) or price <= 0 or most < count:
        return
    centres = [mapping(centre) for centre in rows(gpu.get("dataCenters"))]
    places = [(place, centre.get("availability")) for centre in centres if (place := identifier(centre.get("id")))]
    for place, level in places if node_type.regions else [("", gpu.get("availability"))]:
        offer = Offer(
            cloud="runpod",
            offer_id="/".join((tier, place, gpu["id"])),
            gpu_name=gpu["name"],
            price_usd_per_hour=price * count,
            usual_boot_s=_USUAL_BOOT_S,
            region=place or "anywhere",
            trust=TIERS[tier],
            gpu_count=count,
            gpu_id=gpu["id"],
            gpu_memory_gib=number(gpu.get("memory")) or 0.0,
            storage_usd_per_hour=node_type.disk_gib * _DISK_USD_PER_GIB_HOUR,
            availability=_AVAILABILITY.get(str(level), 0.0),
            gpu_vendor=(text(gpu.get("manufacturer")) or "unknown").casefold(),
        )
        machine = Machine(country=country_of(place), gpu_names=(gpu["id"],), cuda=_newest_cuda(gpu))
        if offer.availability > 0 and not unmet(node_type, offer, machine):
            yield offer


def _newest_cuda(gpu: Mapping[str, Any]) -> str:
    """The newest CUDA version that a machine of this type can be had with now; "none" of a type that has none."""
    versions = (mapping(each) for each in rows(gpu.get("cudaVersions")))
    told = [text(each.get("version")) for each in versions if each.get("available")]
    return max(told, key=version_key, default="none")


def country_of(data_center_id: str) -> str:
    """The country in an id such as EU-RO-1, EUR-IS-1 or US-TX-3; "" where there is none."""
    words = data_center_id.split("-")
    if words[0] in ("US", "CA"):
        return words[0]
    return words[1] if len(words) == 3 and len(words[1]) == 2 else ""


def cuda(version: str) -> str:
    """The two numbers that the API wants."""
    numbers = (*version_key(version), 0)
    return f"{numbers[0]}.{numbers[1]}"
