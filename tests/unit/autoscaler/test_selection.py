"""Which offer is taken first, and what is said about it."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.decisions.selection import Experience, Ranking, rank, unmet, weigh
from autoscaler.types import Intent, IntentState, NodeType, Offer, Trust

NEED = NodeType("gpu", {"GPU": 1}, max_count=2, clouds=("red",))


def offer(offer_id: str, price: float = 1.0, boot_s: float = 60.0, **values: Any) -> Offer:
    return replace(Offer("red", offer_id, "RTX 4090", price, boot_s, "EU", Trust.SECURE), **values)


def ids(ranking: Ranking) -> list[str]:
    return [choice.offer.offer_id for choice in ranking.choices]


def test_the_boot_is_part_of_the_price() -> None:
    assert weigh(offer("a", price=3.6, boot_s=100.0), Experience()).expected_usd == pytest.approx(0.4)
    assert ids(rank(NEED, [offer("slow", 1.0, 900.0), offer("quick", 2.0, 30.0)], {})) == ["quick", "slow"]


def test_the_cheapest_comes_first_and_the_cheap_boot_decides_when_equal() -> None:
    assert ids(rank(NEED, [offer("b", 2.0), offer("a", 1.0)], {})) == ["a", "b"]
    assert ids(rank(NEED, [offer("b", 0.0, 90.0), offer("a", 0.0, 30.0)], {})) == ["a", "b"]
    assert ids(rank(NEED, [offer("b"), offer("a")], {})) == ["a", "b"]


@pytest.mark.parametrize(
    "worse",
    [
        {"storage_usd_per_hour": 0.1},
        {"bandwidth_usd_per_gib": 0.02},
        {"availability": 0.2},
        {"reliability": 0.9},
    ],
)
def test_all_that_costs_or_may_fail_counts(worse: dict[str, Any]) -> None:
    assert ids(rank(NEED, [offer("a", **worse), offer("b")], {})) == ["b", "a"]


def test_boots_seen_here_and_launches_that_failed_count_more_than_promises() -> None:
    offers = [offer("a", 1.0), offer("b", 1.1, gpu_name="L4")]
    assert ids(rank(NEED, offers, {})) == ["a", "b"]
    assert ids(rank(NEED, offers, {("red", "RTX 4090"): Experience(joined=3, usual_boot_s=200.0)})) == ["b", "a"]
    assert ids(rank(NEED, offers, {("red", "RTX 4090"): Experience(joined=1, broken=2)})) == ["b", "a"]
    assert ids(rank(NEED, offers, {("red", "RTX 4090"): Experience(joined=60, broken=1)})) == ["a", "b"]


def test_experience_is_the_median_boot_and_what_never_joined() -> None:
    base = Intent("x", "gpu", IntentState.ENDED, 0.0, buying_at=10.0)
    launches = [replace(base, joined_at=10.0 + s) for s in (20.0, 30.0, 400.0)]
    launches += [replace(base, broken=True), replace(base, broken=True, joined_at=15.0), base]
    assert Experience.of(launches) == Experience(joined=4, broken=1, usual_boot_s=25.0)


@pytest.mark.parametrize(
    ("need", "sold", "says"),
    [
        ({"max_price_usd_per_hour": 0.9}, {}, "dearer than max_price_usd_per_hour 0.9"),
        ({"max_price_usd_per_hour": 1.05}, {"storage_usd_per_hour": 0.1}, "dearer"),
        ({"trust": Trust.SECURE}, {"trust": Trust.COMMUNITY}, "its trust is community, wanted is secure"),
        ({"max_price_usd_per_hour": 1.0, "trust": Trust.SECURE}, {}, ""),
        ({"trust": Trust.SECURE}, {"trust": Trust.OWN}, ""),
        ({}, {"gpu_vendor": "amd"}, "amd's runtime"),
        ({}, {"available_s": 1859.0}, "for rent for 1859 s more; its boot and its work take 1860 s"),
        ({"expected_work_s": 60.0}, {"available_s": 120.0}, ""),
        ({}, {"download_mbps": 99.0}, "it downloads 99 of 100 Mb/s"),
        ({}, {"bandwidth_usd_per_gib": 0.051}, "its transfers cost 0.051 of at most 0.05 USD/GiB"),
        ({}, {"upload_usd_per_gib": 2.0}, "its transfers cost 2"),
        ({"max_transfer_usd_per_gib": None}, {"upload_usd_per_gib": 2.0}, ""),
    ],
)
def test_what_does_not_meet_the_need_is_left_out_and_says_why(
    need: dict[str, Any], sold: dict[str, Any], says: str
) -> None:
    why = unmet(replace(NEED, **need), offer("a", **sold))
    assert (says in why) if says else why == ""


def test_what_rests_is_left_out_with_its_reason() -> None:
    ranking = rank(
        NEED, [offer("a"), offer("b", 2.0)], {}, lambda o: "not used for another 9 s" if o.offer_id == "a" else ""
    )
    assert ids(ranking) == ["b"]
    assert "nothing else can be had" in ranking.sentence(ranking.choices[0])
    assert "not used for another 9 s" in ranking.sentence(ranking.choices[0])


def test_without_a_choice_it_says_why() -> None:
    assert rank(NEED, [], {}).nothing() == "no cloud offers such a machine now"
    need = replace(NEED, max_price_usd_per_hour=0.5)
    assert "RTX 4090 of red (EU) at 1 USD/h: dearer" in rank(need, [offer("a")], {}).nothing()


def test_the_sentence_names_the_choice_and_what_speaks_against_the_next() -> None:
    ranking = rank(NEED, [offer("slow", 0.3, 900.0, gpu_name="RTX 3090"), offer("quick", 0.34, 30.0)], {})
    said = ranking.sentence(ranking.choices[0])
    assert said.startswith("took RTX 4090 of red (EU) at 0.34 USD/h")
    assert "over RTX 3090 of red (EU) at 0.3 USD/h (0.1000 USD, since it takes 900 s to boot)" in said
    alone = rank(NEED, [offer("a")], {})
    assert alone.sentence(alone.choices[0]).endswith("; the only offer")


def test_boots_seen_here_count_in_how_long_a_machine_must_be_for_rent() -> None:
    offers = [offer("a", available_s=1900.0)]
    assert ids(rank(NEED, offers, {})) == ["a"]
    slow = rank(NEED, offers, {("red", "RTX 4090"): Experience(joined=3, usual_boot_s=200.0)})
    assert "its boot and its work take 2000 s" in slow.nothing()
