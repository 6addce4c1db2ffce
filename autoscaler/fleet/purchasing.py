"""The shell that spends money: offers of all clouds, ranked, checked against the budget, written down, then bought."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autoscaler.clouds.contract import CloudProvider
from autoscaler.decisions import budget
from autoscaler.decisions.promises import promise_of
from autoscaler.decisions.quarantine import Holds
from autoscaler.decisions.selection import Choice, Ranking, rank
from autoscaler.errors import CloudStopped, NoCapacity, RateLimited, message_of
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.ledger import Ledger
from autoscaler.fleet.measures import cause_of
from autoscaler.fleet.watch import Pace, Watch
from autoscaler.types import Equipment, Instance, InstanceStatus, Intent, IntentState, LaunchRequest, NodeType, Offer

# Refusals in one purchase before it pauses: the next tick goes on with what does not rest.
_MAX_TRIES = 5
_INSTANCE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REFUSED = (NoCapacity, RateLimited, CloudStopped)


@dataclass(frozen=True)
class Terms:
    """On what terms machines are bought: for how long at most, and how long a refused offer rests, in seconds."""

    max_age_s: float
    cool_down_s: float
    budgets: budget.Budgets


class Purchasing:
    """Buys one machine at a time for a launch; several launches side by side."""

    def __init__(
        self,
        providers: Mapping[str, CloudProvider],
        launches: Launches,
        ledger: Ledger,
        holds: Holds,
        watch: Watch,
        clock: Callable[[], float],
        equip: Callable[[str, NodeType, Offer], Equipment],
        terms: Terms,
        pace: Pace,
    ) -> None:
        self._providers, self._launches, self._ledger = dict(providers), launches, ledger
        self._holds, self._watch, self._clock = holds, watch, clock
        self._equip, self._terms, self._pace = equip, terms, pace
        self._offers: dict[tuple[str, str], tuple[float, asyncio.Task[Sequence[Offer]]]] = {}
        self.stopped = False

    async def buy(self, name: str, node_type: NodeType, clouds: Sequence[str]) -> None:
        """Try offers, best first, each written down before its cloud is asked."""
        ranking = await self._ranking(name, node_type, clouds)
        refused: list[str] = []
        for choice in ranking.choices:
            if not self._still_wanted(name) or len(refused) >= _MAX_TRIES:
                break
            why = self._holds.cloud(choice.offer.cloud, self._clock()) or self._over_budget(choice.offer)
            why = why or await self._try(name, node_type, choice, ranking)
            if not why:
                return
            refused.append(why)
        if self._still_wanted(name):
            self._launches.waits(name, refused[0] if refused else ranking.nothing())

    def spendings(self) -> dict[str, budget.Spending]:
        """What everything costs now, today and this month, by cloud and in all."""
        now = self._clock()
        burn = budget.burn_usd_per_hour(self._launches.live(), self._watch.last_good())
        day = self._launches.spent_usd(budget.day_start(now))
        return budget.spendings(burn, day, self._launches.spent_usd(budget.month_start(now)))

    def bought(self, name: str, instance: Instance, sentence: str) -> None:
        """The purchase has happened. Whoever gave it up meanwhile is right: it stays ENDING and is ended."""
        intent = self._launches.get(name)
        if intent is None:
            return  # closed meanwhile: the sweep ends the machine
        now = self._clock()
        state = IntentState.BOUGHT if intent.state is IntentState.BUYING else intent.state
        self._launches.change(
            name,
            sentence,
            state=state,
            instance_id=instance.instance_id,
            machine_id=instance.machine_id or intent.machine_id,
            bought_at=min(max(instance.created_at or 0.0, intent.buying_at or now), now),  # a cloud's clock may be off
            answered_at=now,
            price_usd_per_hour=budget.counted_usd_per_hour(intent, instance),
        )

    def identified(self, name: str, instance_id: str) -> None:
        """A machine says which one it is: so a purchase without a clear answer has happened, whatever lists show."""
        intent = self._launches.get(name)
        if intent is None or intent.cloud is None or intent.instance_id or not _INSTANCE_ID.fullmatch(instance_id):
            return
        if any((i.cloud, i.instance_id) == (intent.cloud, instance_id) for i in self._launches.live()):
            return  # another's: a machine could have that one ended
        since, price = intent.buying_at or self._clock(), intent.price_usd_per_hour or 0.0
        own = Instance(intent.cloud, instance_id, name, InstanceStatus.PENDING, since, price)
        self.bought(name, own, f"its machine says that it is {instance_id} of {intent.cloud}")

    async def _try(self, name: str, node_type: NodeType, choice: Choice, ranking: Ranking) -> str:
        """One purchase; why, when surely nothing was bought, else ""."""
        offer = choice.offer
        self._write_ahead(name, node_type, choice, ranking)
        try:
            instance = await self._create(name, node_type, offer)
        except _REFUSED as error:
            return self._refused(name, offer, error)
        except Exception as error:  # an unknown failure is an unknown outcome: it may have been bought
            self._watch.trouble(offer.cloud, "buy", "a purchase got no clear answer", error)
            self._unclear(name, offer, error)
        else:
            self._watch.recovered(offer.cloud, "buy")
            self.bought(name, instance, f"bought from {offer.cloud} at {instance.price_usd_per_hour:.4g} USD/h")
        return ""

    def _write_ahead(self, name: str, node_type: NodeType, choice: Choice, ranking: Ranking) -> None:
        offer = choice.offer
        self._launches.change(
            name,
            f"buying one from {offer.cloud}: {ranking.sentence(choice)}",
            state=IntentState.BUYING,
            cloud=offer.cloud,
            offer_id=offer.offer_id,
            gpu_name=offer.gpu_name,
            region=offer.region,
            machine_id=offer.machine_id,
            price_usd_per_hour=offer.full_usd_per_hour,
            accepted_usd_per_hour=offer.full_usd_per_hour,
            usual_boot_s=choice.boot_s,
            buying_at=self._clock(),
            answered_at=None,
            listed_at=None,
            promise=promise_of(node_type, offer),
        )

    async def _create(self, name: str, node_type: NodeType, offer: Offer) -> Instance:
        equipment = self._equip(name, node_type, offer)
        request = LaunchRequest(
            name,
            node_type,
            offer,
            equipment.environment,
            self._terms.max_age_s,
            equipment.image,
            equipment.start_command,
        )
        async with asyncio.timeout(self._pace.purchase_timeout_s):
            return await self._providers[offer.cloud].create_instance(request)

    def _refused(self, name: str, offer: Offer, error: Exception) -> str:
        now = self._clock()
        if isinstance(error, NoCapacity):
            rest_s = self._holds.rest(
                (offer.cloud, offer.offer_id), offer.machine_id, now, self._terms.cool_down_s, f"{offer.cloud} had none"
            )
            sentence = f"{offer.cloud} has none: {error}; this offer rests for {rest_s:.0f} s"
            self._watch.recovered(offer.cloud, "buy")
            self._launches.measures.cloud_failed(offer.cloud, cause_of(error))
        else:
            self._watch.trouble(offer.cloud, "buy", "it sells nothing", error)
            sentence = f"{offer.cloud} sells nothing: {error}"
        if (intent := self._launches.get(name)) is not None:
            state = IntentState.WANTED if intent.state is IntentState.BUYING else intent.state
            reason = sentence if state is IntentState.WANTED else intent.reason
            nothing = dict.fromkeys(("cloud", "offer_id", "machine_id", "buying_at", "price_usd_per_hour"))
            self._launches.change(name, sentence, state=state, reason=reason, **nothing)
        return sentence

    def _unclear(self, name: str, offer: Offer, error: Exception) -> None:
        if self._launches.get(name) is not None:
            sentence = f"{offer.cloud} gave no clear answer ({message_of(error)}); its list will tell"
            self._launches.change(name, sentence, answered_at=self._clock())

    def _still_wanted(self, name: str) -> bool:
        intent = self._launches.get(name)
        return intent is not None and intent.state is IntentState.WANTED and not self.stopped

    def _over_budget(self, offer: Offer) -> str:
        return budget.refusal(self._terms.budgets, self.spendings(), offer.cloud, offer.full_usd_per_hour)

    async def _ranking(self, name: str, node_type: NodeType, clouds: Sequence[str]) -> Ranking:
        found = await asyncio.gather(*(self._offers_of(cloud, node_type) for cloud in clouds))
        experiences = {key: seen for cloud in clouds for key, seen in self._ledger.experiences(cloud).items()}
        rival_of = intent.rival_of if (intent := self._launches.get(name)) else None
        taken = {(i.cloud, i.offer_id) for i in self._launches.live() if _excludes(i, name, rival_of)}

        def resting(offer: Offer) -> str:
            busy = (offer.cloud, offer.offer_id) in taken
            return "another launch is buying it" if busy else self._holds.offer(offer, self._clock())

        return rank(node_type, [offer for offers in found for offer in offers], experiences, resting)

    async def _offers_of(self, cloud: str, node_type: NodeType) -> Sequence[Offer]:
        """The cloud's offers, not asked for again within `offers_fresh_s`, whether they came or not."""
        key, now = (cloud, node_type.name), self._clock()
        asked_at, asking = self._offers.get(key, (float("-inf"), None))
        if asking is None or now - asked_at >= self._pace.offers_fresh_s:
            asking = asyncio.create_task(self._ask(cloud, node_type))
            self._offers[key] = (now, asking)
        return await asyncio.shield(asking)

    async def _ask(self, cloud: str, node_type: NodeType) -> Sequence[Offer]:
        try:
            async with asyncio.timeout(self._pace.call_timeout_s):
                offers = await self._providers[cloud].list_offers(node_type)
        except Exception as error:  # the other clouds may sell
            self._watch.trouble(cloud, "offers", "its offers cannot be had", error)
            return ()
        self._watch.recovered(cloud, "offers")
        return offers


def _excludes(intent: Intent, name: str, rival_of: str | None) -> bool:
    """Whether this launch's offer is out of reach of `name`: a single machine that is being bought, or its twin's."""
    twin = intent.name == rival_of or intent.rival_of == name
    return intent.name != name and (twin or (intent.state is IntentState.BUYING and intent.machine_id is not None))
