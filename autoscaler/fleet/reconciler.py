"""The only loop: observe the clouds, decide, act. Memory answers every read; the ledger survives."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from autoscaler.clouds.contract import CloudProvider
from autoscaler.decisions import budget, races
from autoscaler.decisions.commands import Adopt, Buy, Close, Command, Drain, LookUp, Terminate, Wait
from autoscaler.decisions.decide import Observed, Policy, decide
from autoscaler.decisions.quarantine import Breaker, Holds
from autoscaler.errors import Draining, UnknownNodeType, message_of
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.ledger import Ledger
from autoscaler.fleet.measures import Measures
from autoscaler.fleet.node_activity import Activities
from autoscaler.fleet.purchasing import Purchasing, Terms
from autoscaler.fleet.second_looks import SecondLooks
from autoscaler.fleet.sentences import printable
from autoscaler.fleet.view import instance_view, spending_view
from autoscaler.fleet.watch import Pace, Watch
from autoscaler.types import Activity, Equipment, Instance, Intent, IntentState, NodeType, Offer

_log = logging.getLogger(__name__)
# Ours, beside Ray's tags: one of Ray's launch requests covers several calls and node types.
_CALL_TAG = "aima-launch-call"


class Reconciler:
    """Keeps what is bought equal to what is wanted. One instance per cluster; all calls from one event loop."""

    def __init__(
        self,
        cluster_id: str,
        node_types: Sequence[NodeType],
        providers: Mapping[str, CloudProvider],
        ledger: Ledger,
        clock: Callable[[], float],
        equip: Callable[[str, NodeType, Offer], Equipment],
        policy: Policy | None = None,
        budgets: budget.Budgets | None = None,
        pace: Pace | None = None,
        breaker: Breaker | None = None,
        measures: Measures | None = None,
    ) -> None:
        self._cluster_id, self._providers, self._ledger, self._clock = cluster_id, dict(providers), ledger, clock
        self._node_types = {node_type.name: node_type for node_type in node_types}
        self._policy, self._pace = policy or Policy(), pace or Pace({})
        self._budgets, self._breaker = budgets or budget.Budgets(), breaker or Breaker()
        self._launches, self._holds = Launches(ledger, clock, measures), Holds()
        self._watch = Watch(self._providers, self._launches, self._holds, clock, self._pace)
        terms = Terms(self._policy.max_age_s, self._policy.cool_down_s, self._budgets)
        self.purchasing = Purchasing(
            self._providers, self._launches, ledger, self._holds, self._watch, clock, equip, terms, self._pace
        )
        self._second_looks = SecondLooks(self._providers, self._launches, self._watch, clock, self._pace)
        self._activities = Activities(clock)
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._wake, self._ticking = asyncio.Event(), asyncio.Lock()
        self.billed_s = self._launches.billed_s

    def launch(self, node_type: str, count: int, tags: Mapping[str, str], call_id: str) -> list[str]:
        """Write down `count` new intents and buy soon. A call repeated with its `call_id` gives the same names.

        Raises UnknownNodeType, and Draining once the cluster is stopping.
        """
        if node_type not in self._node_types:
            raise UnknownNodeType(node_type, self._node_types)
        if self.purchasing.stopped:
            raise Draining("the cluster is stopping: no machine is bought any more")
        names = [i.name for i in self.nodes() if i.tags.get(_CALL_TAG) == call_id]
        tags, why = {**tags, _CALL_TAG: call_id}, f"Ray asks for a worker of type {node_type}"
        for _ in range(count - len(names)):
            names.append(self._launches.want(self._cluster_id, node_type, tags, why))
            if self._node_types[node_type].race:
                second = f"a second candidate for {names[-1]}: the first to join stays"
                self._launches.want(self._cluster_id, node_type, tags, second, rival_of=names[-1])
        self._wake.set()
        return names

    def terminate(self, names: Sequence[str], reason: str) -> None:
        """These are not wanted any more, nor their rivals; unknown and ended names are ignored."""
        for name in names:
            for intent in races.pair(self._launches.live(), name):
                self._give_up(intent.name, reason)

    def _give_up(self, name: str, reason: str) -> None:
        """End it soon: what ends a second earlier is billed a second less."""
        intent = self._launches.get(name)
        if intent is not None and self._launches.end(name, reason) and intent.cloud is not None:
            self._watch.list_soon(intent.cloud)
        self._wake.set()

    def nodes(self) -> list[Intent]:
        """What Ray is to see: every launch that exists or may exist. An ending one stays until it is surely gone,
        so that Ray neither forgets a node that still runs nor buys another in its place too early.
        """
        return races.visible(self._launches.live())

    def find(self, name: str) -> Intent | None:
        """The launch, seen by Ray or not; None when it is over or unknown."""
        return self._launches.get(name)

    def mark_joined(self, name: str) -> None:
        """The instance has become a Ray node. Its rival has lost."""
        intent = self._launches.get(name)
        if intent is not None and intent.joined_at is None:
            now = self._clock()
            sentence = f"it joined {now - intent.wanted_at:.1f} s after it was wanted"
            self._launches.change(name, sentence, joined_at=now, phases={**intent.phases, "Ray up": now})
            for other in races.pair(self._launches.live(), name):
                if other.name != name and intent.state is not IntentState.ENDING:
                    self._give_up(other.name, f"{name} joined first")

    def mark_phase(self, name: str, phase: str, ago_s: float = 0.0) -> None:
        """The instance has reached a boot phase, so many seconds ago."""
        if (intent := self._launches.get(name)) is not None and phase not in intent.phases:
            phases = {**intent.phases, phase: self._clock() - ago_s}
            self._launches.change(name, f"it reports: {phase}", phases=phases)

    def mark_failed(self, name: str, reason: str) -> None:
        """The instance reports that it cannot work: it is ended, and its machine left alone for a while."""
        intent = self._launches.get(name)
        reason = printable(reason)
        if intent is not None and self._launches.end(name, f"it reports: {reason}", broken=True):
            self._rest(intent, reason)
        self._wake.set()

    def note(self, subject: str, sentence: str) -> None:
        """An event that is about no launch's state, such as a stranger at the door."""
        self._launches.note(subject, sentence)

    def live_names(self) -> set[str]:
        """Every launch that exists or may exist."""
        return {intent.name for intent in self._launches.live()}

    def observe(self, activities: Mapping[str, Activity]) -> None:
        """What Ray says of its nodes now, by launch name."""
        self._activities.observe(activities)

    async def run(self, stop: asyncio.Event, interval_s: float = 1.0, idle_interval_s: float = 30.0) -> None:
        """Tick every `interval_s` while anything lives, else every `idle_interval_s`, and at once when asked."""
        while not stop.is_set():
            try:
                await self.tick()
            except Exception:  # the loop that ends what costs money must not end
                _log.exception("a tick failed; the next one follows")
            pause_s = interval_s if self._launches.live() else idle_interval_s
            waits = {asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(stop.wait())}
            _done, pending = await asyncio.wait(waits, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            self._wake.clear()

    async def tick(self) -> None:
        """One round: list all clouds side by side, decide, act. What is slow goes on beside the next rounds."""
        async with self._ticking:
            listings = await self._watch.look()
            self._launches.listed(listings)
            self._second_looks.observe(self._launches.live(), listings)
            now, spendings = self._clock(), self.purchasing.spendings()
            observed = Observed(
                intents=self._launches.live(),
                listings=listings,
                node_types=self._node_types,
                unused=self._activities.unused(),
                purchasing=frozenset(key[1] for key in self._tasks if key[0] == "buy"),
                held={cloud: why for cloud in self._providers if (why := self._holds.cloud(cloud, now))},
                tripped=self._tripped(now),
                drained=budget.drains(self._budgets, spendings) | budget.too_many(self._budgets, self._launches.live()),
                overspent=budget.overspent(self._budgets, spendings),
                asked_to_end=self._watch.ending(),
                absences=self._second_looks.absences,
                lookups=self._second_looks.lookups,
            )
            for warning in budget.warnings(self._budgets, spendings):
                self._launches.note("budget", warning, warning.split(" of the ")[1])
            for command in decide(observed, now, self._policy):
                self._act(command)
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=self._pace.patience_s)
            self._launches.measures.ticked(now)

    async def drain(self, timeout_s: float) -> None:
        """End everything, buy nothing more; returns when good listings show nothing. Raises TimeoutError."""
        self.purchasing.stopped = True
        self.terminate([intent.name for intent in self._launches.live()], "the cluster is stopping")
        async with asyncio.timeout(timeout_s):
            while self._launches.live() or any(x is None or x.instances for x in (await self._watch.look()).values()):
                await self.tick()
                await asyncio.sleep(0.1)

    def _tripped(self, now: float) -> dict[str, str]:
        """Node types whose launches fail one after the other."""
        found = {}
        for name in self._node_types:
            hold = self._breaker.trip(self._launches.last_ended(name))
            if hold is not None and hold.until > now:
                found[name] = f"{name} rests for {hold.until - now:.0f} s: {hold.reason}"
                self._launches.note(name, f"nothing is bought for a while: {hold.reason}", "breaker")
        return found

    def _act(self, command: Command) -> None:
        if isinstance(command, Buy):
            self._buy(command)
        elif isinstance(command, Wait):
            self._launches.waits(command.name, command.reason)
        elif isinstance(command, Adopt):
            self.purchasing.bought(command.name, command.instance, "found by its name after an unclear answer")
        elif isinstance(command, Drain):
            self._launches.drain(command.name, command.reason)
        elif isinstance(command, Terminate):
            self._end(command)
        elif isinstance(command, LookUp):
            self._start(("look up", command.name), self._second_looks.ask(command))
        else:
            self._close(command)

    def _buy(self, command: Buy) -> None:
        if (intent := self._launches.get(command.name)) is not None:
            node_type = self._node_types[intent.node_type]
            self._start(("buy", intent.name), self.purchasing.buy(intent.name, node_type, command.clouds))

    def _start(self, key: tuple[str, ...], work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the loop, once at a time."""
        if key in self._tasks:
            work.close()
            return
        self._tasks[key] = task = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._finished(key, done))

    def _finished(self, key: tuple[str, ...], task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed; the next tick goes on", " ".join(key), exc_info=error)

    def _end(self, command: Terminate) -> None:
        instance, intent = command.instance, self._launches.get(command.instance.name)
        if command.double or intent is None:
            self._launches.stray(instance, command.reason)
        elif self._launches.end(instance.name, command.reason, broken=command.broken) and command.broken:
            self._rest(intent, command.reason)
        self._start(("end", instance.cloud, instance.instance_id), self._ask_for_end(command))

    async def _ask_for_end(self, command: Terminate) -> None:
        instance = command.instance
        if command.broken:
            await self._keep_excerpt(instance)
        try:
            async with asyncio.timeout(self._pace.call_timeout_s):
                await self._providers[instance.cloud].terminate_instance(instance.instance_id)
        except Exception as error:  # the next tick tries again, and other machines are to end meanwhile
            self._watch.trouble(instance.cloud, "end", f"it does not end {instance.name}, which is tried again", error)
        else:
            self._watch.asked_to_end(instance)

    async def _keep_excerpt(self, instance: Instance) -> None:
        """What the cloud's log says of a machine that failed, while it can be asked."""
        try:
            async with asyncio.timeout(self._pace.call_timeout_s):
                said = await self._providers[instance.cloud].log_excerpt(instance.instance_id)
        except Exception as error:  # no explanation keeps a machine from its end
            _log.info("its log cannot be had: %s", message_of(error), extra={"instance": instance.name})
            return
        intent = self._launches.get(instance.name)
        if said and intent is not None:
            last = f"its log ends with: {printable(said)}"
            self._launches.change(instance.name, last, reason=f"{intent.reason}; {last}")

    def _rest(self, intent: Intent, reason: str) -> None:
        """Leave a broken machine and its offer alone for a while."""
        if intent.cloud is not None and intent.offer_id is not None:
            key = (intent.cloud, intent.offer_id)
            self._holds.rest(key, intent.machine_id, self._clock(), self._policy.cool_down_s, reason)

    def _close(self, command: Close) -> None:
        intent = self._launches.get(command.name)
        if intent is not None and command.broken and not intent.broken and intent.bought_at is not None:
            self._rest(intent, command.reason)
        self._launches.close(command.name, command.reason, command.at, command.failed, command.broken)
        self._activities.forget(command.name)
        self._watch.forget(intent)

    def fleet(self) -> dict[str, Any]:
        """A JSON-able view: all that lives and the latest launches, money, troubled clouds and the latest events."""
        now, spendings = self._clock(), self.purchasing.spendings()
        usual = (self._ledger.usual_boot_s(cloud) for cloud in self._providers)
        # However old it is, what may be billed is shown.
        known = {i.name: i for i in (*self._ledger.recent(), *self._launches.live())}
        shown = sorted(known.values(), key=lambda i: i.wanted_at)
        return {
            "instances": [instance_view(i, now, self._activities.busy_with(i.name)) for i in shown],
            "clouds": sorted({cloud for node_type in self._node_types.values() for cloud in node_type.clouds}),
            "usual_boot_s": next((boot_s for boot_s in usual if boot_s is not None), None),
            "degraded": self._watch.degraded(),
            "holds": self._holds.view(now),
            "spending": spending_view(self._budgets, spendings),
            "events": self._ledger.recent_events(),
        }
