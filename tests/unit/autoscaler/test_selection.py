"""Which offer is taken first."""

import pytest

from autoscaler.selection import effective_price_usd, rank
from autoscaler.types import Offer, Trust


def offer(offer_id: str, price: float = 1.0, boot_s: float = 60.0) -> Offer:
    return Offer("red", offer_id, None, price, boot_s, "EU", Trust.SECURE)


def ids(offers: list[Offer]) -> list[str]:
    return [o.offer_id for o in offers]


def test_the_boot_is_part_of_the_price() -> None:
    assert effective_price_usd(offer("a", price=3.6, boot_s=100.0)) == pytest.approx(0.4)
    assert ids(rank([offer("slow", 1.0, 900.0), offer("quick", 2.0, 30.0)], {}, 0.0)) == ["quick", "slow"]


def test_the_cheapest_comes_first_and_the_cheap_boot_decides_when_equal() -> None:
    assert ids(rank([offer("b", 2.0), offer("a", 1.0)], {}, 0.0)) == ["a", "b"]
    assert ids(rank([offer("b", 0.0, 90.0), offer("a", 0.0, 30.0)], {}, 0.0)) == ["a", "b"]
    assert ids(rank([offer("b"), offer("a")], {}, 0.0)) == ["a", "b"]


def test_a_cooling_offer_is_left_out_until_its_time() -> None:
    offers = [offer("a"), offer("b")]
    assert ids(rank(offers, {("red", "a"): 10.0, ("blue", "b"): 10.0}, 9.9)) == ["b"]
    assert ids(rank(offers, {("red", "a"): 10.0}, 10.0)) == ["a", "b"]
    assert rank([], {}, 0.0) == []
