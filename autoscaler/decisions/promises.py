"""What a machine was bought for, and whether what its cloud lists keeps to it. Pure.

The promise is written into the ledger before the purchase, so that it also holds after a restart. What a cloud does not
say breaks no promise.
"""

from collections.abc import Iterable
from typing import Any

from autoscaler.decisions.budget import counted_usd_per_hour
from autoscaler.decisions.needs import gpu_key, in_regions
from autoscaler.types import Instance, Intent, NodeType, Offer, Promise, Traits, Trust

_TRUST_ORDER = (Trust.COMMUNITY, Trust.SECURE, Trust.OWN)


def promise_of(node_type: NodeType, offer: Offer) -> Promise:
    """What may be expected of a machine bought with this offer for this need."""
    gpu = (offer.gpu_id or offer.gpu_name or "") if offer.gpu_count else ""
    return Promise(node_type.regions, offer.trust, gpu, offer.gpu_count)


def breach(promise: Promise, traits: Traits) -> str:
    """How the machine differs from what was promised, or ""."""
    place = traits.region or traits.country
    if place and not in_regions(promise.regions, traits.region, traits.country):
        return f"it is in {place}, not in {', '.join(promise.regions)} as was asked for"
    if promise.trust and traits.trust and _TRUST_ORDER.index(traits.trust) < _TRUST_ORDER.index(promise.trust):
        return f"its host is {traits.trust.value}, sold as {promise.trust.value}"
    if promise.gpu and traits.gpu and gpu_key(traits.gpu) != gpu_key(promise.gpu):
        return f"its GPU is {traits.gpu}, sold was {promise.gpu}"
    if traits.gpu_count is not None and traits.gpu_count < promise.gpu_count:
        return f"it has {traits.gpu_count} of the {promise.gpu_count} GPUs that were sold"
    return ""


def learned(intent: Intent, listed: Iterable[Instance], now: float) -> dict[str, Any]:
    """What a good list of its cloud tells of a launch that is not written down yet: that it is listed, its price."""
    own = [i for i in listed if i.instance_id == intent.instance_id or i.name == intent.name]
    if not own:
        return {}
    news: dict[str, Any] = {} if intent.listed_at is not None else {"listed_at": now}
    for instance in own:
        price = counted_usd_per_hour(intent, instance)
        if instance.instance_id == intent.instance_id and price > (intent.price_usd_per_hour or 0.0):
            news["price_usd_per_hour"] = price
    return news
