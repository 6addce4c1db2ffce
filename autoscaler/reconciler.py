"""The only loop: observe the clouds, decide, act. Memory answers every read; the ledger survives."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoscaler.decide import Adopt, Buy, Close, Command, Observed, Policy, Terminate, decide
from autoscaler.errors import CloudError, Draining, NoCapacity, UnknownNodeType
from autoscaler.ledger import Ledger
from autoscaler.provider import CloudProvider
from autoscaler.selection import rank
from autoscaler.types import Activity, Instance, Intent, IntentState, LaunchRequest, NodeType, Offer
from autoscaler.view import instance_view

_log = logging.getLogger(__name__)
# Ours, beside Ray's tags: one of Ray's launch requests covers several calls and node types.
_CALL_TAG = "aima-launch-call"
_CLOUD_TIMEOUT_S = 20.0
# What Ray said of a node counts for this long: it reports every second, unless it is down.
_ACTIVITY_FRESH_S = 15.0


class Reconciler:
    """Keeps what is bought equal to what is wanted. One instance per cluster; all calls from one event loop."""

    def __init__(
        self,
        cluster_id: str,
        node_types: Sequence[NodeType],
        providers: Mapping[str, CloudProvider],
        ledger: Ledger,
        clock: Callable[[], float],
        environment_for: Callable[[str, NodeType], Mapping[str, str]],
        policy: Policy | None = None,
    ) -> None:
        self._cluster_id, self._providers, self._ledger, self._clock = cluster_id, dict(providers), ledger, clock
        self._node_types = {node_type.name: node_type for node_type in node_types}
        self._environment_for = environment_for
        self._policy = policy or Policy()
        self._intents = {intent.name: intent for intent in ledger.live()}
        self._cooling: dict[tuple[str, str], float] = {}
        self._degraded: dict[str, str] = {}
        self._activities: dict[str, tuple[float, Activity]] = {}
        self._unused_since: dict[str, float] = {}
        self._draining = False
        self._wake = asyncio.Event()
        self._ticking = asyncio.Lock()

    def launch(self, node_type: str, count: int, tags: Mapping[str, str], call_id: str) -> list[str]:
        """Write down `count` new intents and buy soon. A call repeated with its `call_id` gives the same names.

        Raises UnknownNodeType, and Draining once the cluster is stopping.
        """
        if node_type not in self._node_types:
            raise UnknownNodeType(node_type, self._node_types)
        if self._draining:
            raise Draining("the cluster is stopping: no machine is bought any more")
        names = [i.name for i in self.nodes() if i.tags.get(_CALL_TAG) == call_id]
        new = [f"{self._cluster_id}-{node_type}-{secrets.token_hex(4)}" for _ in range(count - len(names))]
        for name in new:
            why = f"Ray asks for a worker of type {node_type}"
            self._intents[name] = self._ledger.want(name, node_type, {**tags, _CALL_TAG: call_id}, why)
        self._wake.set()
        return names + new

    def terminate(self, names: Sequence[str], reason: str) -> None:
        """These are not wanted any more; unknown and ended names are ignored."""
        for name in names:
            intent = self._intents.get(name)
            if intent is not None and intent.live and intent.state is not IntentState.ENDING:
                self._change(intent, f"it is to end: {reason}", state=IntentState.ENDING, reason=reason)
        self._wake.set()

    def nodes(self) -> list[Intent]:
        """What Ray is to see: every launch that exists or may exist. An ending one stays until it is surely gone,

        so that Ray neither forgets a node that still runs nor buys another in its place too early.
        """
        return [intent for intent in self._intents.values() if intent.live]

    def mark_joined(self, name: str) -> None:
        """The instance has become a Ray node."""
        intent = self._intents.get(name)
        if intent is not None and intent.joined_at is None:
            now = self._clock()
            sentence = f"it joined {now - intent.wanted_at:.1f} s after it was wanted"
            self._change(intent, sentence, joined_at=now)

    def observe(self, activities: Mapping[str, Activity]) -> None:
        """What Ray says of its nodes now, by launch name."""
        now = self._clock()
        for name, activity in activities.items():
            self._activities[name] = (now, activity)
            if activity.in_use:
                self._unused_since.pop(name, None)
            else:
                self._unused_since.setdefault(name, now)

    def _unused(self) -> dict[str, tuple[float, str]]:
        """Since when, by fresh reports, a node's resources are not in use, and why Ray calls it busy all the same."""
        oldest = self._clock() - _ACTIVITY_FRESH_S
        fresh = {name: activity for name, (at, activity) in self._activities.items() if at >= oldest}
        return {n: (since, "; ".join(fresh[n].reasons)) for n, since in self._unused_since.items() if n in fresh}

    async def run(self, stop: asyncio.Event, interval_s: float = 1.0, idle_interval_s: float = 30.0) -> None:
        """Tick every `interval_s` while anything lives, else every `idle_interval_s`, and at once when asked."""
        while not stop.is_set():
            try:
                await self.tick()
            except Exception:  # the loop that ends what costs money must not end
                _log.exception("a tick failed; the next one follows")
            pause_s = interval_s if self.nodes() else idle_interval_s
            waits = {asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(stop.wait())}
            _done, pending = await asyncio.wait(waits, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            self._wake.clear()

    async def tick(self) -> None:
        """One round: list all clouds side by side, decide, act."""
        async with self._ticking:
            names, now = list(self._providers), self._clock()  # a listing tells nothing of later than its request
            listings = await asyncio.gather(*(self._list(name) for name in names))
            listed = dict(zip(names, listings, strict=True))
            observed = Observed(self.nodes(), listed, self._node_types, self._unused())
            for command in decide(observed, now, self._policy):
                await self._act(command)

    async def drain(self, timeout_s: float) -> None:
        """End everything, buy nothing more; returns when good listings show nothing. Raises TimeoutError."""
        self._draining = True
        self.terminate([intent.name for intent in self.nodes()], "the cluster is stopping")
        async with asyncio.timeout(timeout_s):
            while self.nodes() or await self._anything_listed():
                await self.tick()
                await asyncio.sleep(0.1)

    async def _anything_listed(self) -> bool:
        listings = await asyncio.gather(*(self._list(name) for name in self._providers))
        return any(listing is None or len(listing) > 0 for listing in listings)

    async def _list(self, cloud: str) -> Sequence[Instance] | None:
        try:
            async with asyncio.timeout(_CLOUD_TIMEOUT_S):
                listing = await self._providers[cloud].list_instances()
        except Exception as error:  # whatever ails one cloud must not keep the others from being watched
            self._trouble(cloud, "its list of instances cannot be had", error)
            return None
        self._degraded.pop(cloud, None)
        return listing

    def _trouble(self, cloud: str, what: str, error: Exception) -> None:
        """Show it as degraded. An error that is no cloud's is a defect of ours: its traceback goes to the log."""
        if not isinstance(error, CloudError | TimeoutError):
            _log.error("%s: %s", cloud, what, exc_info=error)
        self._degraded[cloud] = f"{what}: {error or 'no answer in time'}"

    async def _act(self, command: Command) -> None:
        if isinstance(command, Buy):
            await self._buy(command)
        elif isinstance(command, Adopt):
            self._bought(command.name, command.instance, "found by its name after an unclear answer")
        elif isinstance(command, Terminate):
            await self._terminate(command)
        else:
            self._close(command)

    async def _buy(self, command: Buy) -> None:
        """Try offers, best first, each written down before the cloud is asked."""
        offers = await self._offers(command.clouds, self._node_types[self._intents[command.name].node_type])
        for offer in rank(offers, self._cooling, self._clock()):
            intent = self._intents[command.name]
            if intent.state is not IntentState.WANTED or self._draining:
                return  # given up while an offer was tried
            self._write_ahead(intent, offer)
            try:
                instance = await self._create(command.name, offer)
            except NoCapacity as error:
                self._refused(command.name, offer, error)
            except Exception as error:  # an unknown failure is an unknown outcome: it may have been bought
                self._trouble(offer.cloud, "a purchase got no clear answer", error)
                self._unclear(command.name, offer, error)
                return
            else:
                self._bought(command.name, instance, f"bought from {offer.cloud}")
                return

    def _write_ahead(self, intent: Intent, offer: Offer) -> None:
        usual_s = offer.usual_boot_s
        self._change(
            intent,
            f"buying one from {offer.cloud} for {offer.price_usd_per_hour:g} USD/h, usually {usual_s:.0f} s",
            state=IntentState.BUYING,
            cloud=offer.cloud,
            offer_id=offer.offer_id,
            price_usd_per_hour=offer.price_usd_per_hour,
            usual_boot_s=usual_s,
            buying_at=self._clock(),
            answered_at=None,
        )

    async def _create(self, name: str, offer: Offer) -> Instance:
        node_type = self._node_types[self._intents[name].node_type]
        environment = self._environment_for(name, node_type)
        request = LaunchRequest(name, node_type, offer, environment, self._policy.max_age_s)
        async with asyncio.timeout(_CLOUD_TIMEOUT_S):
            return await self._providers[offer.cloud].create_instance(request)

    async def _offers(self, clouds: Sequence[str], node_type: NodeType) -> list[Offer]:
        """All offers, with the boot time that this cluster has seen where it has seen one."""
        offers: list[Offer] = []
        for cloud in clouds:
            try:
                async with asyncio.timeout(_CLOUD_TIMEOUT_S):
                    offers += await self._providers[cloud].list_offers(node_type)
            except Exception as error:  # the other clouds may sell
                self._trouble(cloud, "its offers cannot be had", error)
        seen = {cloud: self._ledger.usual_boot_s(cloud) for cloud in clouds}
        return [replace(offer, usual_boot_s=seen[offer.cloud] or offer.usual_boot_s) for offer in offers]

    def _refused(self, name: str, offer: Offer, error: NoCapacity) -> None:
        self._rest(offer.cloud, offer.offer_id)
        intent = self._intents[name]
        state = IntentState.WANTED if intent.state is IntentState.BUYING else intent.state
        sentence = f"{offer.cloud} has none: {error}; this offer rests for {self._policy.cool_down_s:.0f} s"
        self._change(intent, sentence, state=state, cloud=None, offer_id=None, buying_at=None, reason=sentence)

    def _rest(self, cloud: str, offer_id: str) -> None:
        """Leave an offer alone for a while."""
        self._cooling[cloud, offer_id] = self._clock() + self._policy.cool_down_s

    def _unclear(self, name: str, offer: Offer, error: Exception) -> None:
        sentence = f"{offer.cloud} gave no clear answer ({error or 'none in time'}); its list will tell"
        self._change(self._intents[name], sentence, answered_at=self._clock())

    def _bought(self, name: str, instance: Instance, sentence: str) -> None:
        intent = self._intents[name]
        # Whoever gave it up meanwhile is right: it stays ENDING and the next tick ends it.
        state = IntentState.BOUGHT if intent.state is IntentState.BUYING else intent.state
        self._change(
            intent,
            sentence,
            state=state,
            instance_id=instance.instance_id,
            bought_at=instance.created_at,
            answered_at=self._clock(),
            price_usd_per_hour=instance.price_usd_per_hour,
        )

    async def _terminate(self, command: Terminate) -> None:
        intent = self._intents.get(command.name)
        if intent is not None and not command.double and intent.state in (IntentState.BUYING, IntentState.BOUGHT):
            self._change(intent, f"it is to end: {command.reason}", state=IntentState.ENDING, reason=command.reason)
            if command.broken and intent.offer_id is not None:
                self._rest(command.cloud, intent.offer_id)
        elif intent is None or command.double:
            _log.warning("ending %s at %s: %s", command.name, command.cloud, command.reason)
        try:
            async with asyncio.timeout(_CLOUD_TIMEOUT_S):
                await self._providers[command.cloud].terminate_instance(command.instance_id)
        except Exception as error:  # the next tick tries again, and other machines are to end meanwhile
            self._trouble(command.cloud, f"it does not end {command.name}, which is tried again", error)

    def _close(self, command: Close) -> None:
        now = self._clock()
        intent = self._intents[command.name]
        state = IntentState.FAILED if command.failed else IntentState.ENDED
        sentence = f"gone: {command.reason}; it cost {intent.cost_usd(now):.6f} USD for {intent.billed_s(now):.1f} s"
        self._change(intent, sentence, state=state, ended_at=now, reason=command.reason)
        for known in (self._intents, self._activities, self._unused_since):
            known.pop(command.name, None)

    def _change(self, intent: Intent, sentence: str, **values: Any) -> None:
        self._intents[intent.name] = self._ledger.change(intent, sentence, **values)
        _log.info("%s: %s", intent.name, sentence)

    def fleet(self) -> dict[str, Any]:
        """A JSON-able view of all launches, the ended ones too, of troubled clouds and of the latest events."""
        now = self._clock()
        busy_with = {name: "; ".join(activity.reasons) for name, (_at, activity) in self._activities.items()}
        intents = [self._intents.get(intent.name, intent) for intent in self._ledger.recent()]
        return {
            "instances": [instance_view(intent, now, busy_with.get(intent.name, "")) for intent in intents],
            "clouds": sorted({cloud for node_type in self._node_types.values() for cloud in node_type.clouds}),
            "usual_boot_s": next(
                (usual for cloud in self._providers if (usual := self._ledger.usual_boot_s(cloud)) is not None), None
            ),
            "degraded": dict(self._degraded),
            "events": self._ledger.recent_events(),
        }
