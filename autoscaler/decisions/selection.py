"""Which offer to take, and why, in a sentence."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.decisions.needs import unmet_terms
from autoscaler.types import Intent, NodeType, Offer, Trust

# The work that a boot's cost is spread over: without it, a slow cheap offer would always win.
_ASSUMED_WORK_S = 300.0
# A refused purchase costs only a question and some seconds of waiting.
_REFUSAL_PENALTY = 0.05
_TRUST = (Trust.COMMUNITY, Trust.SECURE, Trust.OWN)


@dataclass(frozen=True)
class Experience:
    """What this cluster has seen of a cloud's machines of one GPU: launches that joined and that never did."""

    joined: int = 0
    broken: int = 0
    usual_boot_s: float | None = None

    @property
    def success(self) -> float:
        """How likely the next one joins, 0 to 1; a single failure among few is not yet a verdict."""
        return (self.joined + 2) / (self.joined + self.broken + 2)

    @classmethod
    def of(cls, launches: Sequence[Intent]) -> "Experience":
        """What these launches teach; the usual boot is the median from the purchase to the joined node."""
        boots = [i.joined_at - (i.buying_at or i.wanted_at) for i in launches if i.joined_at is not None]
        broken = sum(i.broken and i.joined_at is None for i in launches)
        return cls(len(boots), broken, statistics.median(boots) if boots else None)


Experiences = Mapping[tuple[str, str | None], Experience]


@dataclass(frozen=True)
class Choice:
    """An offer worth trying. `expected_usd` is what five minutes of work cost with it, boot and risk included."""

    offer: Offer
    boot_s: float
    expected_usd: float


@dataclass(frozen=True)
class Ranking:
    """Offers worth trying, best first, and why each other is left out."""

    choices: tuple[Choice, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def sentence(self, chosen: Choice) -> str:
        """Why `chosen` and not its nearest competitor."""
        offer = chosen.offer
        expected = f"{chosen.expected_usd:.4f} USD for five minutes and a boot of {chosen.boot_s:.0f} s"
        took = f"took {describe(offer)}, {expected}"
        other = next((c for c in self.choices if c is not chosen), None)
        if other is not None:
            return f"{took}, over {describe(other.offer)} ({_against(chosen, other)})"
        if self.left_out:
            return f"{took}; nothing else can be had ({next(iter(self.left_out.values()))})"
        return f"{took}; the only offer"

    def nothing(self) -> str:
        """Why there is no choice."""
        if not self.left_out:
            return "no cloud offers such a machine now"
        return "no offer will do now: " + "; ".join(list(dict.fromkeys(self.left_out.values()))[:3])


def rank(
    node_type: NodeType,
    offers: Iterable[Offer],
    experiences: Experiences,
    resting: Callable[[Offer], str] = lambda _offer: "",
) -> Ranking:
    """The offers that meet the need and do not rest, cheapest first for five minutes of work.

    `resting` says why an offer or its machine is left alone for now, or "". Equal inputs rank equally.
    """
    choices, left_out = [], {}
    for offer in offers:
        choice = weigh(offer, experiences.get((offer.cloud, offer.gpu_name), Experience()))
        if why := unmet(node_type, offer, choice.boot_s) or resting(offer):
            left_out[f"{offer.cloud} {offer.offer_id}"] = f"{describe(offer)}: {why}"
        else:
            choices.append(choice)
    return Ranking(tuple(sorted(choices, key=_order)), left_out)


def weigh(offer: Offer, experience: Experience) -> Choice:
    """What five minutes of work cost: price and storage while it boots and works, bandwidth, and what fails."""
    boot_s = offer.usual_boot_s if experience.usual_boot_s is None else experience.usual_boot_s
    usd = offer.full_usd_per_hour * (boot_s + _ASSUMED_WORK_S) / 3600
    usd += offer.transfer_usd
    risk = experience.success * max(0.01, offer.reliability)
    return Choice(offer, boot_s, usd / risk * (1 + _REFUSAL_PENALTY * (1 - offer.availability)))


def unmet(node_type: NodeType, offer: Offer, boot_s: float | None = None) -> str:
    """What forbids this offer whatever its cloud made of the need: price, owner, GPU, rental time, transfers. Else "".

    `boot_s`: how long such machines have really taken to boot.
    """
    most = node_type.max_price_usd_per_hour
    if most is not None and offer.full_usd_per_hour > most:
        return f"dearer than max_price_usd_per_hour {most:g}"
    if _TRUST.index(offer.trust) < _TRUST.index(node_type.trust):
        return f"its trust is {offer.trust.value}, wanted is {node_type.trust.value}"
    return next(unmet_terms(node_type, offer, offer.usual_boot_s if boot_s is None else boot_s), "")


def describe(offer: Offer) -> str:
    """The offer in a few words."""
    machine = offer.gpu_name or "a CPU machine"
    count = f"{offer.gpu_count} x " if offer.gpu_count > 1 else ""
    return f"{count}{machine} of {offer.cloud} ({offer.region}) at {offer.full_usd_per_hour:.4g} USD/h"


def _order(choice: Choice) -> tuple[float, float, str, str]:
    return choice.expected_usd, choice.boot_s, choice.offer.cloud, choice.offer.offer_id


def _against(chosen: Choice, other: Choice) -> str:
    """What speaks against the competitor."""
    if other.expected_usd < chosen.expected_usd:
        return "which was tried before it"
    cheaper = other.offer.full_usd_per_hour < chosen.offer.full_usd_per_hour
    if cheaper and other.boot_s > chosen.boot_s:
        return f"{other.expected_usd:.4f} USD, since it takes {other.boot_s:.0f} s to boot"
    return f"{other.expected_usd:.4f} USD with its boot, transfers and risk"
