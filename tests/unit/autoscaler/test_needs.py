"""Which offers meet a need, and which names are ours."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.clouds.runpod.catalogue import country_of
from autoscaler.decisions.needs import Machine, gpu_count, in_regions, unmet
from autoscaler.types import NodeType, Offer, Trust

NEED = NodeType(
    "gpu",
    {"GPU": 1},
    1,
    ("any",),
    gpu_names=("RTX_4090",),
    gpu_memory_gib=24,
    min_reliability=0.98,
    disk_gib=40,
    min_cuda="12.8",
    regions=("EU",),
    trust=Trust.SECURE,
    max_price_usd_per_hour=0.80,
)
OFFER = Offer("any", "1", "NVIDIA GeForce RTX 4090", 0.7, 60.0, "EU-RO-1", Trust.SECURE, 1, 23.99, 0.01)
OFFER = replace(OFFER, reliability=0.99)
MACHINE = Machine("RO", vcpus=8, disk_gib=40, cuda="12.11")


def test_what_meets_every_need_is_taken() -> None:
    assert unmet(NEED, OFFER, MACHINE) == ""
    assert unmet(NEED, OFFER, Machine("RO")) == ""


@pytest.mark.parametrize(
    ("offer", "machine", "why"),
    [
        ({"gpu_name": "RTX 4090 D"}, {}, "its GPU is RTX 4090 D"),
        ({"gpu_count": 0}, {}, "0 GPUs of 1"),
        ({"gpu_memory_gib": 16.0}, {}, "16 of 24 GiB"),
        ({"trust": Trust.COMMUNITY}, {}, "its host is community"),
        ({"region": "EUR-IS-1"}, {"country": "IS"}, "not in EU"),
        ({"region": ""}, {"country": ""}, "an unknown place"),
        ({"reliability": 0.97}, {}, "its reliability is 0.97"),
        ({"storage_usd_per_hour": 0.2}, {}, "it costs 0.9 of at most 0.8"),
        ({}, {"vcpus": 7.5}, "7.5 of 8 vCPUs"),
        ({}, {"disk_gib": 39}, "39 of 40 GiB of disk"),
        ({}, {"cuda": "12.2"}, "CUDA 12.2"),
    ],
)
def test_what_misses_one_need_is_not(offer: dict[str, Any], machine: dict[str, Any], why: str) -> None:
    assert why in unmet(NEED, replace(OFFER, **offer), replace(MACHINE, **machine))


def test_regions_are_groups_countries_or_the_clouds_own_names() -> None:
    assert in_regions((), "", "")
    assert in_regions(("EU",), "anything", "DE")
    assert in_regions(("is", "EU"), "EUR-IS-1", "IS")
    assert in_regions(("US-TX-3",), "US-TX-3", "US")
    assert not in_regions(("EU",), "EUR-NO-1", "NO")
    assert not in_regions(("EU",), "", "")


@pytest.mark.parametrize(
    ("data_center", "country"),
    [("EU-RO-1", "RO"), ("EUR-IS-1", "IS"), ("US-TX-3", "US"), ("CA-MTL-1", "CA"), ("AP-JP-1", "JP"), ("new", "")],
)
def test_runpods_data_centres_tell_their_country(data_center: str, country: str) -> None:
    assert country_of(data_center) == country


@pytest.mark.parametrize(("resources", "count"), [({}, 0), ({"GPU": 0.5}, 1), ({"GPU": 2.0}, 2)])
def test_machines_are_sold_with_whole_gpus(resources: dict[str, float], count: int) -> None:
    assert gpu_count(NodeType("any", resources, 1, ())) == count
