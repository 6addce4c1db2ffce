"""Whether an offer meets the need of a NodeType, and if not, why."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from autoscaler.types import NodeType, Offer, Trust

# fmt: off
_EUROPEAN_UNION = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU",
    "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
})
# fmt: on
_GROUPS = {"EU": _EUROPEAN_UNION}
_TRUST_ORDER = (Trust.COMMUNITY, Trust.SECURE, Trust.OWN)
# A "24 GB" card reports 22.5 to 24 GiB: what is asked for is the size class.
MEMORY_TOLERANCE = 0.93
_NOT_DISTINCTIVE = {"nvidia", "geforce"}


@dataclass(frozen=True)
class Machine:
    """What a cloud tells of the machine behind an offer; None where it tells nothing.

    `country` is an ISO 3166 alpha-2 code, "" when unknown; `gpu_names` are all spellings of its GPU.
    """

    country: str = ""
    gpu_names: tuple[str, ...] = ()
    vcpus: float | None = None
    disk_gib: float | None = None
    cuda: str | None = None


def gpu_count(node_type: NodeType) -> int:
    """Whole GPUs of one machine."""
    return -int(-node_type.resources.get("GPU", 0.0) // 1)


def unmet(node_type: NodeType, offer: Offer, machine: Machine) -> str:
    """The first need that the offer does not meet, in words; "" when it meets them all."""
    return next(_unmet(node_type, offer, machine), "")


def unmet_terms(node_type: NodeType, offer: Offer, boot_s: float) -> Iterator[str]:
    """What forbids an offer by what it tells itself: who made the GPU, how long it is for rent, how it is connected."""
    if gpu_count(node_type) and offer.gpu_vendor and offer.gpu_vendor != node_type.gpu_vendor:
        yield f"its GPU is made for {offer.gpu_vendor}'s runtime, {node_type.gpu_vendor}'s is asked for"
    if offer.available_s < (needed_s := boot_s + node_type.expected_work_s):
        yield f"it is for rent for {offer.available_s:.0f} s more; its boot and its work take {needed_s:.0f} s"
    if offer.download_mbps is not None and offer.download_mbps < node_type.min_download_mbps:
        yield f"it downloads {offer.download_mbps:g} of {node_type.min_download_mbps:g} Mb/s"
    dearest, cap = max(offer.bandwidth_usd_per_gib, offer.upload_usd_per_gib), node_type.max_transfer_usd_per_gib
    if cap is not None and dearest > cap:
        yield f"its transfers cost {dearest:g} of at most {cap:g} USD/GiB"


def in_regions(regions: tuple[str, ...], region: str, country: str) -> bool:
    """Whether a place lies in one of `regions`: "EU", country codes or the cloud's own names. None allows all."""
    if not regions:
        return True
    own_names = {region.casefold(), country.casefold()} - {""}
    return any(country in _GROUPS.get(wanted, ()) or wanted.casefold() in own_names for wanted in regions)


def countries_of(regions: tuple[str, ...]) -> list[str]:
    """The country codes in `regions`, groups spelled out; [] when any of them is a cloud's own name."""
    codes = [code for region in regions for code in _GROUPS.get(region, (region,))]
    return sorted(codes) if all(len(code) == 2 and code.isupper() for code in codes) else []


def version_key(version: str) -> tuple[int, ...]:
    """Versions compare by number: 12.11 is above 12.2."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def gpu_key(name: str) -> str:
    """One spelling for a GPU's name: "NVIDIA GeForce RTX 4090", "RTX_4090" and "rtx 4090" are the same."""
    words = re.sub(r"[\s_-]+", " ", name.casefold()).split()
    return " ".join(word for word in words if word not in _NOT_DISTINCTIVE)


def _unmet(node_type: NodeType, offer: Offer, machine: Machine) -> Iterator[str]:
    wanted_gpus = {gpu_key(name) for name in node_type.gpu_names}
    if wanted_gpus and not wanted_gpus & {gpu_key(name) for name in (offer.gpu_name or "", *machine.gpu_names)}:
        yield f"its GPU is {offer.gpu_name}"
    if offer.gpu_count < gpu_count(node_type):
        yield f"it has {offer.gpu_count} GPUs of {gpu_count(node_type)}"
    if offer.gpu_memory_gib < node_type.gpu_memory_gib * MEMORY_TOLERANCE:
        yield f"its GPU has {offer.gpu_memory_gib:g} of {node_type.gpu_memory_gib:g} GiB"
    if _TRUST_ORDER.index(offer.trust) < _TRUST_ORDER.index(node_type.trust):
        yield f"its host is {offer.trust}, {node_type.trust} is asked for"
    if not in_regions(node_type.regions, offer.region, machine.country):
        yield f"it is in {offer.region or 'an unknown place'}, not in {', '.join(node_type.regions)}"
    yield from unmet_terms(node_type, offer, offer.usual_boot_s)
    yield from _unmet_figures(node_type, offer, machine)


def _unmet_figures(node_type: NodeType, offer: Offer, machine: Machine) -> Iterator[str]:
    vcpus = node_type.min_vcpus_per_gpu * offer.gpu_count
    if machine.vcpus is not None and machine.vcpus < vcpus:
        yield f"it has {machine.vcpus:g} of {vcpus:g} vCPUs"
    if offer.reliability < node_type.min_reliability:
        yield f"its reliability is {offer.reliability:g}"
    if machine.disk_gib is not None and machine.disk_gib < node_type.disk_gib:
        yield f"it has {machine.disk_gib:g} of {node_type.disk_gib} GiB of disk"
    if node_type.min_cuda and machine.cuda is not None and version_key(machine.cuda) < version_key(node_type.min_cuda):
        yield f"its driver supports CUDA {machine.cuda}"
    price, cap = offer.price_usd_per_hour + offer.storage_usd_per_hour, node_type.max_price_usd_per_hour
    if cap is not None and price > cap:
        yield f"it costs {price:g} of at most {cap:g} USD/h"
