"""A cloud on a clock, for simulation: boots, lags, runs dry and fails on command, and keeps its own bill."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from autoscaler.errors import CloudError, ListingFailed, NoCapacity, OutcomeUnknown
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer, Trust


class Fault(StrEnum):
    """What the next call of its kind does wrong."""

    NO_CAPACITY = "no capacity"
    CREATED_BUT_UNKNOWN = "created, the answer lost"
    NOT_CREATED_AND_UNKNOWN = "not created, the answer lost"
    LISTING_FAILS = "listing fails"
    TERMINATE_IGNORED = "terminate is ignored"
    TERMINATE_FAILS = "terminate raises"


_CREATE = (Fault.NO_CAPACITY, Fault.CREATED_BUT_UNKNOWN, Fault.NOT_CREATED_AND_UNKNOWN)
_TERMINATE = (Fault.TERMINATE_IGNORED, Fault.TERMINATE_FAILS)


@dataclass
class Provider:
    """Seconds are the clock's. `billed_s` is the cloud's own bill by instance id, for ended instances."""

    clock: Callable[[], float]
    name: str = "fake"
    boot_s: float = 20.0
    list_lag_s: float = 0.0
    price_usd_per_hour: float = 0.74
    faults: deque[Fault] = field(default_factory=deque)
    billed_s: dict[str, float] = field(default_factory=dict)
    alive: dict[str, Instance] = field(default_factory=dict)
    created: int = 0

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """One offer, at the configured price."""
        gpu = "RTX 4090" if node_type.resources.get("GPU") else None
        return [Offer(self.name, "fake-1", gpu, self.price_usd_per_hour, self.boot_s, "EU", Trust.SECURE)]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Create unless a fault says otherwise."""
        fault = self._next_fault(_CREATE)
        if fault is Fault.NO_CAPACITY:
            raise NoCapacity("no longer any instances available")
        if fault is Fault.NOT_CREATED_AND_UNKNOWN:
            raise OutcomeUnknown("the connection was cut")
        self.created += 1
        instance_id = f"i-{self.created}"
        instance = Instance(
            self.name, instance_id, request.name, InstanceStatus.PENDING, self.clock(), request.offer.price_usd_per_hour
        )
        self.alive[instance_id] = instance
        if fault is Fault.CREATED_BUT_UNKNOWN:
            raise OutcomeUnknown("the answer could not be read")
        return instance

    async def list_instances(self) -> list[Instance]:
        """All but those too new to be listed."""
        if self._next_fault((Fault.LISTING_FAILS,)):
            raise ListingFailed("500")
        listed = [i for i in self.alive.values() if self.clock() - i.created_at >= self.list_lag_s]
        return [self._as_of_now(instance) for instance in listed]

    async def terminate_instance(self, instance_id: str) -> None:
        """End at once, or not at all when a fault says so."""
        fault = self._next_fault(_TERMINATE)
        if fault is Fault.TERMINATE_FAILS:
            raise CloudError("503")
        if fault is None and instance_id in self.alive:
            self.vanish(instance_id)

    async def log_excerpt(self, instance_id: str) -> str:
        """Nothing."""
        return ""

    async def close(self) -> None:
        """There are no connections."""

    def vanish(self, instance_id: str) -> None:
        """The instance ends, by whomever's will; its bill is closed."""
        self.billed_s[instance_id] = self.clock() - self.alive.pop(instance_id).created_at

    def fail(self, instance_id: str) -> None:
        """The instance's machine breaks; it is billed on until it is ended."""
        self.alive[instance_id] = replace(self.alive[instance_id], status=InstanceStatus.FAILED, detail="driver error")

    def _as_of_now(self, instance: Instance) -> Instance:
        booted = instance.status is InstanceStatus.PENDING and self.clock() - instance.created_at >= self.boot_s
        return replace(instance, status=InstanceStatus.RUNNING) if booted else instance

    def _next_fault(self, kinds: tuple[Fault, ...]) -> Fault | None:
        for fault in self.faults:
            if fault in kinds:
                self.faults.remove(fault)
                return fault
        return None
