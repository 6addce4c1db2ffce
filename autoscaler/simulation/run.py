"""Days of work in seconds: a trace of arrivals through the real decisions on fake clouds and a fake clock.

What is simulated is only what surrounds the autoscaler: the clouds' boots and prices, and a Ray that gives each request
to one worker, asks for another while requests wait, and calls a worker idle after the policy's time.
"""

import asyncio
import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine

from autoscaler.clouds.fake import Fault, Provider
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.reconciler import Reconciler
from autoscaler.fleet.spec import Spec
from autoscaler.records.journal import Journal
from autoscaler.records.ledger import Ledger
from autoscaler.simulation.arrivals import Arrival
from autoscaler.simulation.virtual_time import VirtualTimeLoop
from autoscaler.types import Activity, Equipment, InstanceStatus, IntentState, NodeType, Offer, Trust

# A Monday, 0 h UTC.
START = 1_767_571_200.0
# RunPod serverless, RTX 4090, read in 2026: what one second of work costs there.
SERVERLESS_USD_PER_S = 0.00031
_STEP_S, _WAITING_STEP_S, _LONGEST_STEP_S = 1.0, 5.0, 60.0
_WAITING_PER_WORKER = 2


class PolicyError(ValueError):
    """No such policy; the message says which there are."""


@dataclass(frozen=True)
class FixedIdle:
    """A worker without work is kept for so many seconds."""

    seconds: float

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.seconds:g} s"


def parse_policy(text: str) -> FixedIdle:
    """The policy of "fixed:SECONDS". Raises PolicyError."""
    kind, _, seconds = text.partition(":")
    try:
        policy = FixedIdle(float(seconds))
    except ValueError:
        policy = FixedIdle(-1.0)
    if kind != "fixed" or not 0 <= policy.seconds < math.inf:
        raise PolicyError(f"policy {text!r} is unknown: write fixed:SECONDS, such as fixed:60")
    return policy


@dataclass(frozen=True)
class Market:
    """A cloud's prices and boots. Both are log-normal around their medians; some boots pull the image first.

    `refusal` is how often a purchase finds nothing.
    """

    cloud: str
    gpu_name: str
    price_usd_per_hour: float
    price_sigma: float
    boot_s: float
    pull_s: float
    pull_share: float
    refusal: float
    boot_sigma: float = 0.3

    def sample_boot_s(self, dice: random.Random) -> float:
        """How long the next machine takes to boot."""
        median = self.pull_s if dice.random() < self.pull_share else self.boot_s
        return median * math.exp(dice.gauss(0.0, self.boot_sigma))

    def sample_offer(self, dice: random.Random) -> Offer:
        """What is for sale now."""
        price = self.price_usd_per_hour * math.exp(dice.gauss(0.0, self.price_sigma))
        usual = self.boot_s * (1 - self.pull_share) + self.pull_s * self.pull_share
        return Offer(self.cloud, f"{self.cloud}-1", self.gpu_name, round(price, 4), usual, "EU", Trust.SECURE)


MARKETS = (
    Market("runpod", "RTX 4090", 0.74, 0.0, boot_s=24.0, pull_s=165.0, pull_share=0.1, refusal=0.05),
    Market("vastai", "RTX 4090", 0.55, 0.25, boot_s=60.0, pull_s=300.0, pull_share=0.4, refusal=0.15),
)


@dataclass(frozen=True)
class Outcome:
    """What a policy made of a trace. Seconds and USD; `waits_s` in the order of service."""

    policy: str
    requests: int
    span_s: float
    useful_gpu_s: float
    billed_gpu_s: float
    cost_usd: float
    ledger_usd: float
    launches: int
    peak_machines: int
    waits_s: tuple[float, ...]
    timeline: tuple[tuple[float, int, int], ...] = field(repr=False, default=())

    def figures(self) -> dict[str, Any]:
        """For JSON and tables. Always on: as many machines as the peak, at the first market's price."""
        waits = sorted(self.waits_s)
        always_on_usd = self.span_s / 3600 * MARKETS[0].price_usd_per_hour * self.peak_machines
        return {
            "policy": self.policy,
            "requests": self.requests,
            "hours": round(self.span_s / 3600, 2),
            "useful_gpu_s": round(self.useful_gpu_s, 1),
            "billed_gpu_s": round(self.billed_gpu_s, 1),
            "useful_share": round(self.useful_gpu_s / self.billed_gpu_s, 4),
            "cost_usd": round(self.cost_usd, 4),
            "ledger_usd": round(self.ledger_usd, 4),
            "always_on_usd": round(always_on_usd, 4),
            "serverless_usd": round(self.useful_gpu_s * SERVERLESS_USD_PER_S, 4),
            "launches": self.launches,
            "peak_machines": self.peak_machines,
            "wait_s": {
                "mean": round(statistics.fmean(waits), 2),
                "p50": round(waits[len(waits) // 2], 2),
                "p95": round(waits[int(len(waits) * 0.95)], 2),
                "max": round(waits[-1], 2),
            },
        }


@dataclass
class _Worker:
    """A Ray node that works on one request at a time."""

    idle_since: float
    job: Arrival | None = None
    done_at: float = math.inf


def simulate(
    trace: Sequence[Arrival],
    policy: FixedIdle,
    engine: Engine,
    max_count: int = 4,
    markets: Sequence[Market] = MARKETS,
    seed: int = 0,
) -> Outcome:
    """Play the trace to its end and back to zero machines. `engine` is an empty database for the ledger."""
    simulation = _Simulation(trace, policy, engine, max_count, markets, seed)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(simulation.run())


class _Simulation:
    def __init__(
        self,
        trace: Sequence[Arrival],
        policy: FixedIdle,
        engine: Engine,
        max_count: int,
        markets: Sequence[Market],
        seed: int,
    ) -> None:
        self.now, self.trace, self.policy, self.seed = START, trace, policy, seed
        self.drawn: dict[str, tuple[int, int]] = {}
        self.markets = {market.cloud: market for market in markets}
        self.clouds = {cloud: Provider(clock=lambda: self.now, name=cloud) for cloud in self.markets}
        node_type = NodeType("gpu", {"GPU": 1}, max_count, tuple(self.clouds))
        self.max_count = max_count
        self.ledger = Ledger(engine, lambda: self.now)
        launches = Launches(Journal(self.ledger, lambda: self.now), lambda: self.now)
        self.reconciler = Reconciler(Spec("sim", [node_type], lambda *_: Equipment()), self.clouds, launches)
        self.coming = deque(replace(arrival, at_s=START + arrival.at_s) for arrival in trace)
        self.waiting: deque[Arrival] = deque()
        self.workers: dict[str, _Worker] = {}
        self.waits: list[float] = []
        self.calls = self.peak = 0
        self.timeline: list[tuple[float, int, int]] = []

    async def run(self) -> Outcome:
        while self.coming or self.waiting or self.workers or self.reconciler.demand.nodes():
            self._arrive()
            self._follow_nodes()
            self._finish_and_assign()
            self._scale()
            self._draw_market()
            self.reconciler.activities.observe({name: Activity(True) for name in self.workers})
            await self.reconciler.tick()
            self._record()
            self.now = self._next_moment()
        return self._outcome()

    def _arrive(self) -> None:
        while self.coming and self.coming[0].at_s <= self.now:
            self.waiting.append(self.coming.popleft())

    def _follow_nodes(self) -> None:
        """Booted machines become workers; a lost worker's request waits again."""
        nodes = {intent.name: intent for intent in self.reconciler.demand.nodes()}
        for cloud in self.clouds.values():
            for instance in list(cloud.alive.values()):
                intent = nodes.get(instance.name)
                booted = cloud.as_of_now(instance).status is InstanceStatus.RUNNING
                if booted and intent is not None and intent.joined_at is None and intent.state is IntentState.BOUGHT:
                    self.reconciler.reports.joined(instance.name)
                    self.workers[instance.name] = _Worker(self.now)
        for name in [n for n in self.workers if n not in nodes or nodes[n].state is IntentState.ENDING]:
            if (job := self.workers.pop(name).job) is not None:
                self.waiting.appendleft(job)

    def _finish_and_assign(self) -> None:
        for worker in self.workers.values():
            if worker.done_at <= self.now:
                worker.idle_since, worker.job, worker.done_at = worker.done_at, None, math.inf
        # The worker that worked last works next, so that the others may go.
        for worker in sorted(self.workers.values(), key=lambda w: -w.idle_since):
            if worker.job is None and self.waiting:
                worker.job = self.waiting.popleft()
                worker.done_at = self.now + worker.job.work_s
                self.waits.append(self.now - worker.job.at_s)

    def _scale(self) -> None:
        limit_s, busy = self.policy.seconds, sum(w.job is not None for w in self.workers.values())
        idle = [n for n, w in self.workers.items() if w.job is None and self.now - w.idle_since >= limit_s]
        self.reconciler.demand.terminate(idle, "Ray's autoscaler has no more work for it")
        for name in idle:
            self.workers.pop(name, None)
        nodes = self.reconciler.demand.nodes()
        coming = sum(i.state is not IntentState.ENDING for i in nodes)
        wanted = min(self.max_count, busy + math.ceil(len(self.waiting) / _WAITING_PER_WORKER))
        if wanted > coming and len(nodes) < self.max_count:
            self.calls += 1
            count = min(wanted - coming, self.max_count - len(nodes))
            self.reconciler.demand.launch("gpu", count, {}, f"call-{self.calls}")

    def _draw_market(self) -> None:
        """Prices, boots and stock as the next purchase will find them: the same ones for every policy."""
        hour = int((self.now - START) // 3600)
        for cloud, market in self.markets.items():
            provider = self.clouds[cloud]
            asked = provider.calls.get("create", 0)
            if self.drawn.get(cloud) == (hour, asked):
                continue
            self.drawn[cloud] = (hour, asked)
            dice = random.Random(f"{self.seed} {cloud} {asked}")  # noqa: S311
            provider.boot_s = market.sample_boot_s(dice)
            provider.faults.clear()
            if dice.random() < market.refusal:
                provider.faults.append(Fault.NO_CAPACITY)
            provider.offers = (market.sample_offer(random.Random(f"{self.seed} {cloud} hour {hour}")),)  # noqa: S311

    def _record(self) -> None:
        machines = sum(len(cloud.alive) for cloud in self.clouds.values())
        busy = sum(w.job is not None for w in self.workers.values())
        self.peak = max(self.peak, machines)
        if not self.timeline or self.timeline[-1][1:] != (machines, busy):
            self.timeline.append((self.now - START, machines, busy))

    def _next_moment(self) -> float:
        """Seconds while something is bought or ended, else the next thing that happens."""
        nodes = self.reconciler.demand.nodes()
        if any(i.state in (IntentState.BUYING, IntentState.ENDING) for i in nodes):
            return self.now + _STEP_S
        events = [self.coming[0].at_s] if self.coming else []
        limit_s = self.policy.seconds
        for worker in self.workers.values():
            events.append(worker.done_at if worker.job else worker.idle_since + limit_s)
        for cloud in self.clouds.values():
            events += [at for i, at in cloud.ready_at.items() if i in cloud.alive and at > self.now]
        if nodes:
            waiting = any(i.state is IntentState.WANTED for i in nodes)
            events.append(self.now + (_WAITING_STEP_S if waiting else _LONGEST_STEP_S))
        return max(self.now + 0.01, min(events, default=self.now + _STEP_S))

    def _outcome(self) -> Outcome:
        launches = self.ledger.recent(10**9)
        return Outcome(
            policy=self.policy.name,
            requests=len(self.trace),
            span_s=self.now - START,
            useful_gpu_s=sum(arrival.work_s for arrival in self.trace),
            billed_gpu_s=sum(sum(cloud.billed_s.values()) for cloud in self.clouds.values()),
            cost_usd=sum(cloud.bill_usd() for cloud in self.clouds.values()),
            ledger_usd=sum(intent.cost_usd(self.now) for intent in launches),
            launches=sum(cloud.created for cloud in self.clouds.values()),
            peak_machines=self.peak,
            waits_s=tuple(self.waits),
            timeline=tuple(self.timeline),
        )
