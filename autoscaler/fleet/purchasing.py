"""The shell that spends money: offers of all clouds, ranked, checked against the budget, written down, then bought."""

import asyncio
from collections.abc import Sequence

from autoscaler.decisions import budget
from autoscaler.decisions.promises import promise_of
from autoscaler.decisions.selection import Choice, Ranking, rank
from autoscaler.errors import CloudStopped, LedgerUnavailable, NoCapacity, RateLimited, message_of
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.measures import cause_of
from autoscaler.fleet.spec import Rules, Spec
from autoscaler.fleet.view import spendings
from autoscaler.fleet.watch import Watch, bounded
from autoscaler.types import Instance, Intent, IntentState, LaunchRequest, NodeType, Offer

# Refusals in one purchase before it pauses: the next tick goes on with what does not rest.
_MAX_TRIES = 5
_REFUSED = (NoCapacity, RateLimited, CloudStopped)


class Purchasing:
    """Buys one machine at a time for a launch; several launches side by side."""

    def __init__(self, spec: Spec, launches: Launches, watch: Watch, rules: Rules) -> None:
        self._spec, self._launches, self._watch, self._rules = spec, launches, watch, rules
        self._clock, self._pace = launches.clock, rules.pace
        self._offers: dict[tuple[str, str], tuple[float, asyncio.Task[Sequence[Offer]]]] = {}
        self.stopped = False

    async def buy(self, name: str, node_type: NodeType, clouds: Sequence[str]) -> None:
        """Try offers, best first, each written down before its cloud is asked."""
        ranking = await self._ranking(name, node_type, clouds)
        refused: list[str] = []
        for choice in ranking.choices:
            if not self._still_wanted(name) or len(refused) >= _MAX_TRIES:
                break
            why = self._forbidden(choice.offer) or await self._try(name, node_type, choice, ranking)
            if not why:
                return
            refused.append(why)
        if self._still_wanted(name):
            self._launches.waits(name, refused[0] if refused else ranking.nothing())

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

    async def _try(self, name: str, node_type: NodeType, choice: Choice, ranking: Ranking) -> str:
        """One purchase; why, when surely nothing was bought, else ""."""
        offer = choice.offer
        try:
            request = self._request(name, node_type, offer)
            await self._write_ahead(name, node_type, choice, ranking)
        except (LedgerUnavailable, OSError) as error:
            return self._not_bought(name, f"nothing is bought before it is written down: {error}")
        if not self._is_buying(name):  # given up while its record was written
            return self._not_bought(name, "it is not wanted any more")
        try:
            create = self._watch.providers[offer.cloud].create_instance(request)
            instance = await bounded(create, self._pace.purchase_timeout_s)
        except _REFUSED as error:
            return self._refused(name, offer, error)
        except Exception as error:  # an unknown failure is an unknown outcome: it may have been bought
            self._watch.failed(offer.cloud, "buy", "a purchase got no clear answer", error)
            self._unclear(name, offer, error)
        else:
            self._watch.recovered(offer.cloud, "buy")
            self.bought(name, instance, f"bought from {offer.cloud} at {instance.price_usd_per_hour:.4g} USD/h")
        return ""

    async def _write_ahead(self, name: str, node_type: NodeType, choice: Choice, ranking: Ranking) -> None:
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
            transfer_usd=offer.transfer_usd,
            usual_boot_s=choice.boot_s,
            buying_at=self._clock(),
            answered_at=None,
            listed_at=None,
            promise=promise_of(node_type, offer),
        )
        await self._launches.durable(self._pace.ledger_timeout_s)

    def _request(self, name: str, node_type: NodeType, offer: Offer) -> LaunchRequest:
        equipment = self._spec.equip(name, node_type, offer)
        max_age_s = self._rules.policy.max_age_s
        environment, command = equipment.environment, equipment.start_command
        return LaunchRequest(name, node_type, offer, environment, max_age_s, equipment.image, command)

    def _refused(self, name: str, offer: Offer, error: Exception) -> str:
        now = self._clock()
        if isinstance(error, NoCapacity):
            key, cool_down_s = (offer.cloud, offer.offer_id), self._rules.policy.cool_down_s
            rest_s = self._watch.holds.rest(key, offer.machine_id, now, cool_down_s, f"{offer.cloud} had none")
            sentence = f"{offer.cloud} has none: {error}; this offer rests for {rest_s:.0f} s"
            self._watch.recovered(offer.cloud, "buy")
            self._launches.measures.cloud_failed(offer.cloud, cause_of(error))
        else:
            self._watch.failed(offer.cloud, "buy", "it sells nothing", error)
            sentence = f"{offer.cloud} sells nothing: {error}"
        return self._not_bought(name, sentence)

    def _not_bought(self, name: str, why: str) -> str:
        """Surely nothing was bought: it is wanted as before, unless it has been given up."""
        if (intent := self._launches.get(name)) is not None and intent.buying_at is not None:
            state = IntentState.WANTED if intent.state is IntentState.BUYING else intent.state
            reason = why if state is IntentState.WANTED else intent.reason
            nothing = dict.fromkeys(("cloud", "offer_id", "machine_id", "buying_at", "price_usd_per_hour"))
            nothing["transfer_usd"] = None
            self._launches.change(name, why, state=state, reason=reason, **nothing)
        return why

    def _is_buying(self, name: str) -> bool:
        intent = self._launches.get(name)
        return intent is not None and intent.state is IntentState.BUYING and not self.stopped

    def _unclear(self, name: str, offer: Offer, error: Exception) -> None:
        if self._launches.get(name) is not None:
            sentence = f"{offer.cloud} gave no clear answer ({message_of(error)}); its list will tell"
            self._launches.change(name, sentence, answered_at=self._clock())

    def _still_wanted(self, name: str) -> bool:
        intent = self._launches.get(name)
        return intent is not None and intent.state is IntentState.WANTED and not self.stopped

    def _forbidden(self, offer: Offer) -> str:
        """Why this offer may not be bought now, or ""."""
        why = self._spec.forbids() or self._launches.trouble() or self._watch.holds.cloud(offer.cloud, self._clock())
        spent = spendings(self._launches, self._watch)
        price, transfer_usd = offer.full_usd_per_hour, offer.transfer_usd
        return why or budget.refusal(self._rules.budgets, spent, offer.cloud, price, transfer_usd)

    async def _ranking(self, name: str, node_type: NodeType, clouds: Sequence[str]) -> Ranking:
        found = await asyncio.gather(*(self._offers_of(cloud, node_type) for cloud in clouds))
        experiences = self._launches.experiences(clouds)
        rival_of = intent.rival_of if (intent := self._launches.get(name)) else None
        taken = {(i.cloud, i.offer_id) for i in self._launches.live() if _excludes(i, name, rival_of)}

        def resting(offer: Offer) -> str:
            busy = (offer.cloud, offer.offer_id) in taken
            return "another launch is buying it" if busy else self._watch.holds.offer(offer, self._clock())

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
            offers = await bounded(self._watch.providers[cloud].list_offers(node_type), self._pace.call_timeout_s)
        except Exception as error:  # the other clouds may sell
            self._watch.failed(cloud, "offers", "its offers cannot be had", error)
            return ()
        self._watch.recovered(cloud, "offers")
        return offers


def _excludes(intent: Intent, name: str, rival_of: str | None) -> bool:
    """Whether this launch's offer is out of reach of `name`: a single machine that is being bought, or its twin's."""
    twin = intent.name == rival_of or intent.rival_of == name
    return intent.name != name and (twin or (intent.state is IntentState.BUYING and intent.machine_id is not None))
