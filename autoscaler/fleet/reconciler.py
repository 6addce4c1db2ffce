"""The only loop: observe the clouds, decide, act. Memory answers every read; the ledger survives."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from autoscaler.clouds.contract import CloudProvider
from autoscaler.decisions import budget
from autoscaler.decisions.commands import Adopt, Buy, Close, Command, Drain, LookUp, Terminate, Wait
from autoscaler.decisions.decide import Observed, decide
from autoscaler.decisions.listed import presumed
from autoscaler.fleet.demand import Demand
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.node_activity import Activities
from autoscaler.fleet.purchasing import Purchasing
from autoscaler.fleet.reports import Reports
from autoscaler.fleet.second_looks import SecondLooks
from autoscaler.fleet.spec import Rules, Spec
from autoscaler.fleet.terminations import Tell, Terminations
from autoscaler.fleet.view import fleet_view, spendings
from autoscaler.fleet.watch import Watch
from autoscaler.types import Intent, IntentState

_log = logging.getLogger(__name__)


class Reconciler:
    """Keeps what is bought equal to what is wanted. One instance per cluster; all calls from one event loop."""

    def __init__(
        self,
        spec: Spec,
        providers: Mapping[str, CloudProvider],
        launches: Launches,
        rules: Rules | None = None,
        tell: Tell = lambda _name, _reason: False,
    ) -> None:
        self._spec, self._launches, self._rules = spec, launches, rules or Rules()
        self._clock, self._pace = launches.clock, self._rules.pace
        self._node_types = {node_type.name: node_type for node_type in spec.node_types}
        self._watch = Watch(providers, launches, self._pace)
        self._second_looks = SecondLooks(launches, self._watch, self._pace)
        self.demand = Demand(spec, launches, self._wake_up)
        self._purchasing = Purchasing(spec, launches, self._watch, self._rules)
        self.reports = Reports(launches, self.demand, self._purchasing, self._rest)
        self._terminations = Terminations(launches, self._watch, self._pace, tell)
        self.activities = Activities(self._clock)
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._wake, self._ticking = asyncio.Event(), asyncio.Lock()

    async def run(self, stop: asyncio.Event, interval_s: float = 1.0, idle_interval_s: float = 30.0) -> None:
        """Tick every `interval_s` while anything lives, else every `idle_interval_s`, and at once when asked."""
        while not stop.is_set():
            try:
                await self.tick()
            except Exception:  # the loop that ends what costs money must not end
                _log.exception("a tick failed; the next one follows")
            pause_s = interval_s if self._launches.live() or self._launches.trouble() else idle_interval_s
            waits = {asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(stop.wait())}
            _done, pending = await asyncio.wait(waits, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            self._wake.clear()

    async def tick(self) -> None:
        """One round: list all clouds side by side, decide, act. What is slow goes on beside the next rounds."""
        async with self._ticking:
            self._launches.keep_written()
            if not self._launches.load():
                await self._tick_without_ledger()
                return
            self._end_known()
            listings = await self._watch.look()
            self._launches.listed(listings)
            self._second_looks.observe(self._launches.live(), listings)
            now, spent, budgets = self._clock(), spendings(self._launches, self._watch), self._rules.budgets
            observed = Observed(
                intents=self._launches.live(),
                listings=listings,
                node_types=self._node_types,
                unused=self.activities.unused(),
                unreported=self.activities.unreported(self._launches.live()),
                purchasing=frozenset(key[1] for key in self._tasks if key[0] == "buy"),
                held={cloud: why for cloud in self._watch.providers if (why := self._watch.holds.cloud(cloud, now))},
                tripped=self._tripped(now),
                drained=budget.drains(budgets, spent) | budget.too_many(budgets, self._launches.live()),
                overspent=budget.overspent(budgets, spent),
                asked_to_end=self._terminations.accepted(),
                absences=self._second_looks.absences,
                lookups=self._second_looks.lookups,
            )
            for warning in budget.warnings(budgets, spent):
                self._launches.note("budget", warning, warning.split(" of the ")[1])
            for command in decide(observed, now, self._rules.policy):
                self._try(command)
            self._terminations.tell_overdue(self._launches.live())
            await self._wait_for_tasks()
            self._launches.measures.ticked(now)

    async def _tick_without_ledger(self) -> None:
        """Nobody knows which machines are wanted: none is ended, unless all are to end."""
        for listing in (await self._watch.look()).values():
            for instance in listing.instances if listing and self._purchasing.stopped else ():
                self._ask_for_end(Terminate(instance, "the cluster is stopping", double=True))
        await self._wait_for_tasks()

    def _end_known(self) -> None:
        """End what is to end and whose id is known: that needs no list, and nothing that follows in this round."""
        for intent in self._launches.live():
            if intent.state is IntentState.ENDING and intent.instance_id and intent.cloud in self._watch.providers:
                self._ask_for_end(Terminate(presumed(intent), intent.reason, unlisted=True))

    async def _wait_for_tasks(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._pace.patience_s)

    def _try(self, command: Command) -> None:
        """One command that cannot be carried out keeps no other from it."""
        try:
            self._act(command)
        except Exception:
            _log.exception("%s failed; the next round tries again", command)

    async def drain(self, timeout_s: float) -> None:
        """End everything, buy nothing more; returns when good listings of all clouds that can be asked show nothing.

        Raises TimeoutError.
        """
        self._purchasing.stopped = True
        self.demand.stop("the cluster is stopping")
        async with asyncio.timeout(timeout_s):
            while self._reachable_live() or not await self._nothing_listed():
                await self.tick()
                await asyncio.sleep(0.1)

    async def _nothing_listed(self) -> bool:
        listings = (await self._watch.look()).items()
        reachable = [listing for cloud, listing in listings if cloud not in self._rules.policy.unreachable]
        return all(listing is not None and not listing.instances for listing in reachable)

    def _reachable_live(self) -> list[Intent]:
        return [i for i in self._launches.live() if i.cloud not in self._rules.policy.unreachable]

    def _wake_up(self, cloud: str | None) -> None:
        if cloud is not None:
            self._watch.list_soon(cloud)
        self._wake.set()

    def _tripped(self, now: float) -> dict[str, str]:
        """Node types of which nothing is bought: the ledger takes no record, or launches fail one after the other."""
        if why := self._spec.forbids() or self._launches.trouble():
            return dict.fromkeys(self._node_types, why)
        found = {}
        for name in self._node_types:
            hold = self._rules.breaker.trip(self._launches.last_ended(name))
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
            self._purchasing.bought(command.name, command.instance, "found by its name after an unclear answer")
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
            self._start(("buy", intent.name), self._purchasing.buy(intent.name, node_type, command.clouds))

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
        self._ask_for_end(command)

    def _ask_for_end(self, command: Terminate) -> None:
        instance = command.instance
        if self._terminations.due(command):
            self._start(("end", instance.cloud, instance.instance_id), self._terminations.ask(command))

    def _rest(self, intent: Intent, reason: str) -> None:
        """Leave a broken machine and its offer alone for a while."""
        if intent.cloud is not None and intent.offer_id is not None:
            key = (intent.cloud, intent.offer_id)
            self._watch.holds.rest(key, intent.machine_id, self._clock(), self._rules.policy.cool_down_s, reason)

    def _close(self, command: Close) -> None:
        intent = self._launches.get(command.name)
        if intent is not None and command.broken and not intent.broken and intent.bought_at is not None:
            self._rest(intent, command.reason)
        if intent is not None:
            self._terminations.forget(intent)
        self._launches.close(command.name, command.reason, command.at, command.failed, command.broken)
        self.activities.forget(command.name)

    def close(self) -> None:
        """The loop has ended: write what the ledger has not taken yet, for some seconds at most."""
        self._launches.write_last()

    def ready(self) -> bool:
        """Whether it is known which machines are wanted: the ledger has been read."""
        return self._launches.load()

    def spendings(self) -> budget.Spendings:
        """What everything costs now, today and this month, by cloud and in all."""
        return spendings(self._launches, self._watch)

    def billed_s(self) -> dict[tuple[str, str], float]:
        """See `Launches.billed_s`."""
        return self._launches.billed_s()

    def fleet(self) -> dict[str, Any]:
        """A JSON-able view: all that lives and the latest launches, money, troubled clouds and the latest events."""
        return fleet_view(self._launches, self._watch, self.activities, self._rules.budgets, self._spec.node_types)
