"""Which offer to take."""

from collections.abc import Iterable, Mapping

from autoscaler.types import Offer

# The work that a boot's cost is spread over: without it, a slow cheap offer would always win.
_ASSUMED_WORK_S = 300.0


def effective_price_usd(offer: Offer) -> float:
    """What five minutes of work cost with this offer, its boot included, in USD."""
    return offer.price_usd_per_hour * (offer.usual_boot_s + _ASSUMED_WORK_S) / 3600


def rank(offers: Iterable[Offer], cooling_until: Mapping[tuple[str, str], float], now: float) -> list[Offer]:
    """The offers worth trying, best first: by price with boot, then by boot time.

    `cooling_until` ((cloud, offer id) -> unix seconds) leaves out what failed of late.
    """
    usable = [offer for offer in offers if cooling_until.get((offer.cloud, offer.offer_id), 0.0) <= now]
    return sorted(usable, key=lambda offer: (effective_price_usd(offer), offer.usual_boot_s, offer.offer_id))
