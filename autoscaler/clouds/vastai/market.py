"""Vast.ai's market: a need as a search, and what is found as an offer."""

import math
import re
from collections.abc import Mapping
from typing import Any

from autoscaler.clouds.rows import SkippedRows, excerpt, identifier, mapping, number, text, whole
from autoscaler.decisions.needs import MEMORY_TOLERANCE, Machine, countries_of, gpu_count, unmet, version_key
from autoscaler.types import DOWNLOAD_GIB, NodeType, Offer, SkippedRow, Trust

_MAX_OFFERS = 100
_GB_PER_GIB = 1.073741824
# Host and image differ; the ledger's own history replaces this. It is a boot's own time and that of pulling an image.
_START_S, _USUAL_BOOT_S = 60.0, 120.0
_MEGABITS_PER_GIB = 8_590.0
# Its own name for hosts in data centres.
_DATA_CENTRE = 1


def search_of(node_type: NodeType) -> dict[str, Any]:
    """The need, as far as the search can express it."""
    gpus = gpu_count(node_type)
    query: dict[str, Any] = {
        "limit": _MAX_OFFERS,
        "verified": {"eq": True},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "num_gpus": {"eq": gpus},
        "gpu_ram": {"gte": int(node_type.gpu_memory_gib * 1024 * MEMORY_TOLERANCE)},
        "cpu_cores_effective": {"gte": node_type.min_vcpus_per_gpu * gpus},
        "disk_space": {"gte": node_type.disk_gib},
        "allocated_storage": float(node_type.disk_gib),
        "order": [["dph_total", "asc"], ["id", "asc"]],
    }
    if node_type.gpu_names:
        query["gpu_name"] = {"in": _spellings(node_type.gpu_names)}
    query |= _terms_of_search(node_type)
    if node_type.min_reliability:
        query["reliability"] = {"gte": node_type.min_reliability}
    if node_type.min_cuda:
        query["cuda_max_good"] = {"gte": float(".".join(str(n) for n in version_key(node_type.min_cuda)[:2]))}
    if node_type.trust is not Trust.COMMUNITY:
        query["datacenter"] = {"eq": True}
    if node_type.max_price_usd_per_hour is not None:
        query["dph_total"] = {"lte": node_type.max_price_usd_per_hour}
    if node_type.regions and (countries := countries_of(node_type.regions)):
        query["geolocation"] = {"in": countries}
    return query


def _spellings(gpu_names: tuple[str, ...]) -> list[str]:
    """How the market may write these names: it compares letter by letter."""
    plain = {re.sub(r"(?i)nvidia|geforce", "", name).replace("_", " ").strip() for name in gpu_names}
    cased = plain | {name.upper() for name in plain}
    return sorted(cased | {name.replace(" ", "_") for name in cased})


def _terms_of_search(node_type: NodeType) -> dict[str, Any]:
    """By who made the GPU, how long it is for rent, and how it is connected, in the market's own units."""
    terms: dict[str, Any] = {
        "gpu_arch": {"eq": node_type.gpu_vendor},
        "duration": {"gte": node_type.expected_work_s + _START_S},
        "inet_down": {"gte": node_type.min_download_mbps},
    }
    if node_type.max_transfer_usd_per_gib is not None:
        most = node_type.max_transfer_usd_per_gib / _GB_PER_GIB
        terms |= {"inet_down_cost": {"lte": most}, "inet_up_cost": {"lte": most}}
    return terms


def _terms_of(found: Mapping[str, Any], now_unix: float | None) -> dict[str, Any]:
    """The same of an offer. What makes no sense is judged as if it were bad: 0 s for rent, 0 Mb/s, a price without end.

    Its documentation calls the bandwidth MB/s, its console Mb/s: the slower reading is the safe one.
    """
    download, ends = _figure(found, "inet_down", 0.0), _figure(found, "end_date", 0.0)
    times = [_figure(found, "duration", 0.0), None if ends is None or now_unix is None else ends - now_unix]
    arch = text(found.get("gpu_arch")) or ("nvidia" if _figure(found, "cuda_max_good", 0.0) else "unknown")
    return {
        "gpu_vendor": arch.casefold(),
        "available_s": min((time for time in times if time is not None), default=math.inf),
        "download_mbps": download,
        "bandwidth_usd_per_gib": (_figure(found, "inet_down_cost", math.inf) or 0.0) * _GB_PER_GIB,
        "upload_usd_per_gib": (_figure(found, "inet_up_cost", math.inf) or 0.0) * _GB_PER_GIB,
        "usual_boot_s": _START_S + DOWNLOAD_GIB * _MEGABITS_PER_GIB / download if download else _USUAL_BOOT_S,
    }


def _figure(found: Mapping[str, Any], name: str, otherwise: float) -> float | None:
    """A figure of an offer; None where it is not told, `otherwise` where it is no finite, not negative number."""
    value = found.get(name)
    told = number(value)
    return told if told is not None or value is None else otherwise


def offer_of(found: object, node_type: NodeType, skipped: SkippedRows, now_unix: float | None = None) -> Offer | None:
    """The offer, if it meets the need. One without id, machine, GPU or price is put to the `skipped`.

    `now_unix`: when it was found, to judge by when it ends.
    """
    row = mapping(found)
    offer_id, machine_id = identifier(row.get("id")), identifier(row.get("machine_id"))
    gpu, gpus, memory = text(row.get("gpu_name")), whole(row.get("num_gpus")), number(row.get("gpu_ram"))
    total = number(row.get("dph_total"))
    if not (offer_id and machine_id and gpu and gpus and memory and total):
        why = f"its id, machine, GPU or price cannot be read: {excerpt(found)}"
        skipped.add("offer", SkippedRow("offer", why, instance_id=offer_id))
        return None
    base, country = number(row.get("dph_base")) or total, country_of(text(row.get("geolocation")))
    offer = Offer(
        cloud="vastai",
        offer_id=offer_id,
        gpu_name=gpu,
        price_usd_per_hour=base,
        region=country,
        trust=Trust.SECURE if row.get("hosting_type") == _DATA_CENTRE else Trust.COMMUNITY,
        gpu_count=gpus,
        gpu_memory_gib=memory / 1024,
        storage_usd_per_hour=max(0.0, total - base),
        reliability=number(row.get("reliability")) or number(row.get("reliability2")) or 0.0,
        machine_id=machine_id,
        **_terms_of(row, now_unix),
    )
    cuda = number(row.get("cuda_max_good"))
    machine = Machine(
        country=country,
        vcpus=number(row.get("cpu_cores_effective")),
        disk_gib=number(row.get("disk_space")),
        cuda=None if cuda is None else str(cuda),
    )
    return None if row.get("is_bid") or unmet(node_type, offer, machine) else offer


def country_of(geolocation: str) -> str:
    """The country code at the end of "Sweden, SE"; "" where there is none."""
    last = geolocation.rsplit(",", 1)[-1].strip()
    return last if len(last) == 2 and last.isupper() else ""
