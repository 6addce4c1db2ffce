"""A cloud on a clock, for simulation: boots, lags, runs dry and fails on command, and keeps its own bill."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from autoscaler.errors import (
    BalanceTooLow,
    CloudError,
    KeyRefused,
    ListingFailed,
    NoCapacity,
    OutcomeUnknown,
    RateLimited,
)
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer, SkippedRow, Traits, Trust

_POLL_S = 0.5


class Fault(StrEnum):
    """What the next call of its kind does wrong."""

    NO_CAPACITY = "no capacity"
    CREATED_BUT_UNKNOWN = "created, the answer lost"
    NOT_CREATED_AND_UNKNOWN = "not created, the answer lost"
    CREATED_SLOWLY = "created, the answer late"
    CREATED_BROKEN = "created on a broken machine"
    CREATED_DEAD = "created, it never joins"
    CREATED_DEARER = "created at another price"
    CREATED_NOT = "an id is answered, nothing was created"
    CREATED_ELSEWHERE = "created in another country than was sold"
    CREATED_SMALLER = "created with no GPU"
    CREATED_UNPRICED = "created at a price that is never told"
    BALANCE_TOO_LOW = "no balance"
    CREATE_RATE_LIMITED = "too many purchases"
    LISTING_FAILS = "listing fails"
    LISTING_SLOW = "listing is late, and old when it comes"
    LISTING_RATE_LIMITED = "too many listings"
    LISTING_PAUSED = "too many listings, a pause of ten minutes"
    LISTING_EMPTY = "listing is empty by mistake"
    LISTING_PARTIAL = "listing omits every other machine"
    LISTING_ODD = "listing has a row that cannot be read"
    LISTING_UNPRICED = "listing tells no price"
    LISTING_STATUS_UNKNOWN = "listing has a status that nobody knows"
    KEY_REFUSED = "key refused at a listing"
    TERMINATE_IGNORED = "terminate is ignored"
    TERMINATE_FAILS = "terminate raises"
    TERMINATE_REFUSED = "terminate is refused, the key may not"
    TERMINATE_RATE_LIMITED = "too many terminations"
    TERMINATE_RAISES_ONCE_DONE = "terminate raises, and the machine is gone"
    LOOKUP_FAILS = "asking for one machine fails"


_CREATE = tuple(fault for fault in Fault if fault.name.startswith(("NO", "CREATE", "BALANCE")))
_LISTING = tuple(fault for fault in Fault if fault.name.startswith(("LISTING", "KEY")))
_TERMINATE = tuple(fault for fault in Fault if fault.name.startswith("TERMINATE"))
_LOOKUP = (Fault.LOOKUP_FAILS,)
_REFUSALS = {
    Fault.NO_CAPACITY: NoCapacity("no longer any instances available"),
    Fault.NOT_CREATED_AND_UNKNOWN: OutcomeUnknown("the connection was cut"),
    Fault.BALANCE_TOO_LOW: BalanceTooLow("402: the balance is too low"),
    Fault.CREATE_RATE_LIMITED: RateLimited("429", 30.0),
    Fault.LISTING_FAILS: ListingFailed("500"),
    Fault.LISTING_RATE_LIMITED: RateLimited("429", 30.0),
    Fault.LISTING_PAUSED: RateLimited("429", 600.0),
    Fault.KEY_REFUSED: KeyRefused("401: the key was revoked"),
    Fault.TERMINATE_FAILS: CloudError("503"),
    Fault.LOOKUP_FAILS: CloudError("503"),
    Fault.TERMINATE_REFUSED: KeyRefused("403: the key may not end machines"),
    Fault.TERMINATE_RATE_LIMITED: RateLimited("429", 600.0),
    Fault.TERMINATE_RAISES_ONCE_DONE: CloudError("502"),
}


@dataclass
class Provider:
    """Seconds are the clock's. `billed_s` is the cloud's own bill by instance id, for ended instances.

    `boot_s` is how long the next machines take to boot, `usual_boot_s` what the offer says. `dead` are machines that
    never join, `unpriced` those whose price is never told. `slow_s`: how late a slow answer is. `skew_s`: how far the
    cloud's clock is ahead of ours in what it lists. `calls` counts requests by kind.
    """

    clock: Callable[[], float]
    name: str = "fake"
    boot_s: float = 20.0
    usual_boot_s: float = 20.0
    list_lag_s: float = 0.0
    slow_s: float = 5.0
    skew_s: float = 0.0
    price_usd_per_hour: float = 0.74
    price_jump: float = 1.5
    offers: tuple[Offer, ...] = ()
    faults: deque[Fault] = field(default_factory=deque)
    billed_s: dict[str, float] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    alive: dict[str, Instance] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    unpriced: set[str] = field(default_factory=set)
    unreadable: tuple[SkippedRow, ...] = ()
    created: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """The configured offers, else one at the configured price."""
        self._count("offers")
        if self.offers:
            return list(self.offers)
        gpu = "RTX 4090" if node_type.resources.get("GPU") else None
        return [Offer(self.name, f"{self.name}-1", gpu, self.price_usd_per_hour, self.usual_boot_s, "EU", Trust.SECURE)]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Create unless a fault says otherwise."""
        self._count("create")
        fault = self._next_fault(_CREATE)
        if fault in _REFUSALS:
            raise _REFUSALS[fault]
        instance = self._new(request, fault)
        if fault is not Fault.CREATED_NOT:
            self.alive[instance.instance_id] = instance
        if fault is Fault.CREATED_BROKEN:
            self.fail(instance.instance_id)
        if fault is Fault.CREATED_DEAD:
            self.dead.add(instance.instance_id)
        if fault is Fault.CREATED_UNPRICED:
            self.unpriced.add(instance.instance_id)
        if fault is Fault.CREATED_SLOWLY:
            await self._until(self.clock() + self.slow_s)
        if fault is Fault.CREATED_BUT_UNKNOWN:
            raise OutcomeUnknown("the answer could not be read")
        return self._as_told(instance)

    async def list_instances(self) -> list[Instance]:
        """All but those too new to be listed."""
        self._count("list")
        fault = self._next_fault(_LISTING)
        if fault in _REFUSALS:
            raise _REFUSALS[fault]
        now = self.clock()
        listed = [self._as_told(i) for i in self.alive.values() if now - (i.created_at or 0.0) >= self.list_lag_s]
        if fault is Fault.LISTING_SLOW:
            await self._until(now + self.slow_s)
        return self._spoiled(listed, fault)

    def skipped_rows(self) -> list[SkippedRow]:
        """The rows of the latest list that were spoiled on command."""
        return list(self.unreadable)

    async def instance_exists(self, instance_id: str) -> bool:
        """The truth, unless asking fails."""
        self._count("lookup")
        if self._next_fault(_LOOKUP) is not None:
            raise _REFUSALS[Fault.LOOKUP_FAILS]
        return instance_id in self.alive

    async def terminate_instance(self, instance_id: str) -> None:
        """End at once, or not at all when a fault says so."""
        self._count("terminate")
        fault = self._next_fault(_TERMINATE)
        if fault in (None, Fault.TERMINATE_RAISES_ONCE_DONE) and instance_id in self.alive:
            self.vanish(instance_id)
        if fault in _REFUSALS:
            raise _REFUSALS[fault]

    async def log_excerpt(self, instance_id: str) -> str:
        """Nothing."""
        return ""

    async def close(self) -> None:
        """There are no connections."""

    def vanish(self, instance_id: str) -> None:
        """The instance ends, by whomever's will; its bill is closed."""
        self.billed_s[instance_id] = self.clock() - (self.alive.pop(instance_id).created_at or 0.0)

    def fail(self, instance_id: str) -> None:
        """The instance's machine breaks; it is billed on until it is ended."""
        self.alive[instance_id] = replace(self.alive[instance_id], status=InstanceStatus.FAILED, detail="driver error")

    def as_of_now(self, instance: Instance) -> Instance:
        """The instance with the status that it has by now."""
        booted = instance.status is InstanceStatus.PENDING and self.clock() >= self.ready_at.get(
            instance.instance_id, 0.0
        )
        return replace(instance, status=InstanceStatus.RUNNING) if booted else instance

    def _as_told(self, instance: Instance) -> Instance:
        price = 0.0 if instance.instance_id in self.unpriced else instance.price_usd_per_hour
        created_at = None if instance.created_at is None else instance.created_at + self.skew_s
        return replace(self.as_of_now(instance), created_at=created_at, price_usd_per_hour=price)

    def _spoiled(self, listed: list[Instance], fault: Fault | None) -> list[Instance]:
        """The list as the fault has it."""
        self.unreadable = ()
        if fault is Fault.LISTING_EMPTY:
            return []
        if fault is Fault.LISTING_PARTIAL:
            return listed[::2]
        if fault is Fault.LISTING_UNPRICED:
            return [replace(instance, price_usd_per_hour=0.0) for instance in listed]
        if fault is Fault.LISTING_STATUS_UNKNOWN:
            return [replace(i, status=InstanceStatus.UNKNOWN, detail="its status is 'hibernating'") for i in listed]
        if fault is Fault.LISTING_ODD and listed:
            odd = listed.pop()
            self.unreadable = (SkippedRow("machine", "its id cannot be read", name=odd.name),)
        return listed

    def bill_usd(self) -> float:
        """What the cloud charges for all machines until now, in USD."""
        now = self.clock()
        seconds = self.billed_s | {i: now - (instance.created_at or 0.0) for i, instance in self.alive.items()}
        return sum(s / 3600 * self.prices[i] for i, s in seconds.items())

    def _new(self, request: LaunchRequest, fault: Fault | None) -> Instance:
        self.created += 1
        instance_id, now = f"{self.name}-i-{self.created}", self.clock()
        price = request.offer.full_usd_per_hour * (self.price_jump if fault is Fault.CREATED_DEARER else 1.0)
        self.prices[instance_id], self.ready_at[instance_id] = price, now + self.boot_s
        return Instance(
            self.name,
            instance_id,
            request.name,
            InstanceStatus.PENDING,
            now,
            price,
            machine_id=request.offer.machine_id,
            traits=Traits(
                region="US" if fault is Fault.CREATED_ELSEWHERE else request.offer.region,
                gpu_count=0 if fault is Fault.CREATED_SMALLER else request.offer.gpu_count,
            ),
        )

    async def _until(self, at: float) -> None:
        while self.clock() < at:
            await asyncio.sleep(_POLL_S)

    def _count(self, kind: str) -> None:
        self.calls[kind] = self.calls.get(kind, 0) + 1

    def _next_fault(self, kinds: tuple[Fault, ...]) -> Fault | None:
        for fault in self.faults:
            if fault in kinds:
                self.faults.remove(fault)
                return fault
        return None
