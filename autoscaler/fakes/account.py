"""A fake cloud's side that customers do not see: machines on a clock, stock, prices, the balance and the bill."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.fakes.containers import Container
from autoscaler.fakes.faults import Fault, Faults, Strict


class Behaviour(Strict):
    """How the cloud behaves. Times are in seconds.

    `stock` and `prices` (USD per hour) are by offer; what is not in them is plentiful and has its published price.
    `containers`: a machine runs its command as a process here. `rate_limits`: as published, or none; `day_calls_left`:
    so many calls are left of the day, which then lasts. `filters_offers`: a search
    gives only what it asks for. The bill: `bill_factor` is what it makes of an amount,
    `bill_lag_s` how late it is, `unbilled` are names that it leaves out; `bill_odd_rows`: some rows make no sense.
    """

    provision_s: float = 5.0
    start_s: float = 5.0
    list_lag_s: float = 0.0
    end_s: float = 0.0
    balance_usd: float = 100.0
    containers: bool = False
    rate_limits: bool = False
    day_calls_left: int | None = None
    filters_offers: bool = True
    bill_factor: float = 1.0
    bill_lag_s: float = 0.0
    bill_odd_rows: bool = False
    unbilled: tuple[str, ...] = ()
    page_size: int = 1000
    paginates: bool = True
    self_termination: bool = True
    conflict_while_provisioning: bool = False
    stock: dict[str, int] = {}
    prices: dict[str, float] = {}


@dataclass
class Machine:
    """One rented machine. `ended_at`: from when on it is gone and costs nothing."""

    machine_id: str
    name: str
    offer_id: str
    price_usd_per_hour: float
    created_at: float
    request: Mapping[str, Any]
    quirk: str | None = None
    ended_at: float | None = None
    container: Container | None = None
    own_key: str = field(default_factory=lambda: f"own-{secrets.token_hex(12)}")

    def alive(self, now: float) -> bool:
        """Whether it exists."""
        return self.ended_at is None or now < self.ended_at

    def billed_s(self, now: float) -> float:
        """Seconds on the bill."""
        return max(0.0, (now if self.ended_at is None else min(now, self.ended_at)) - self.created_at)


class Account:
    """All of one customer's machines. `environment` is what a container's image would bring along."""

    def __init__(
        self, clock: Callable[[], float], key: str, environment: Mapping[str, str], log_dir: Path, behaviour: Behaviour
    ) -> None:
        self._clock, self.key, self.environment, self.log_dir = clock, key, dict(environment), log_dir
        self.behaviour = behaviour
        self.faults = Faults()
        self.machines: dict[str, Machine] = {}
        self.calls: list[str] = []
        self.good_lists: list[float] = []
        self._skew_s = 0.0

    def now(self) -> float:
        """The cloud's time, in unix seconds."""
        return self._clock() + self._skew_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._skew_s += seconds

    def behave(self, changes: Mapping[str, Any]) -> None:
        """Behave otherwise from now on. Raises ValidationError when a change is none that there is."""
        self.behaviour = Behaviour.model_validate(self.behaviour.model_dump() | dict(changes))

    def create(self, machine: Machine, fault: Fault | None) -> Machine:
        """Add a machine and take its offer from the stock."""
        if fault is not None:
            machine.quirk = fault.quirk
            machine.price_usd_per_hour *= fault.price_factor
        if machine.offer_id in self.behaviour.stock:
            self.behaviour.stock[machine.offer_id] -= 1
        self.machines[machine.machine_id] = machine
        return machine

    def in_stock(self, offer_id: str) -> bool:
        """Whether one more can be had."""
        return self.behaviour.stock.get(offer_id, 1) > 0

    def price(self, offer_id: str, published: float) -> float:
        """What the offer costs now, in USD per hour."""
        return self.behaviour.prices.get(offer_id, published)

    def end(self, machine: Machine) -> None:
        """Destroy it, after the cloud's own delay."""
        if machine.ended_at is None:
            machine.ended_at = self.now() + self.behaviour.end_s

    def alive(self) -> list[Machine]:
        """What exists, oldest first; without money nothing does."""
        self.keep()
        return [machine for machine in self.machines.values() if machine.alive(self.now())]

    def listed(self) -> list[Machine]:
        """What a listing shows."""
        seen_since = self.now() - self.behaviour.list_lag_s
        return [m for m in self.alive() if m.created_at <= seen_since and m.quirk != "never_listed"]

    def age_s(self, machine: Machine) -> float:
        """Seconds since its purchase."""
        return self.now() - machine.created_at

    def balance_usd(self) -> float:
        """What is left of what was paid in."""
        spent = sum(m.billed_s(self.now()) * m.price_usd_per_hour / 3600 for m in self.machines.values())
        return self.behaviour.balance_usd - spent

    def keep(self) -> None:
        """What the cloud does by itself: end what nobody pays for, run what has booted, bury the dead."""
        broke = self.balance_usd() <= 0
        for machine in self.machines.values():
            if broke and machine.ended_at is None:
                machine.ended_at = self.now()
            if machine.container is None:
                continue
            if not machine.alive(self.now()):
                machine.container.remove()
                machine.container = None
            elif self.has_booted(machine):
                machine.container.keep_running()

    def has_booted(self, machine: Machine) -> bool:
        """Whether its container runs, unless something ails it."""
        booted = self.age_s(machine) >= self.behaviour.provision_s + self.behaviour.start_s
        return booted and machine.quirk not in ("stuck", "image_missing")

    def bill(self) -> dict[str, Any]:
        """What everything cost until now. `good_lists`: when its list was had as it is. Times in unix seconds."""
        now = self.now()
        lines = {
            m.machine_id: {
                "name": m.name,
                "alive": m.alive(now),
                "created_at": m.created_at,
                "ended_at": None if m.alive(now) else m.ended_at,
                "billed_s": m.billed_s(now),
                "usd": m.billed_s(now) * m.price_usd_per_hour / 3600,
            }
            for m in self.machines.values()
        }
        return {"balance_usd": self.balance_usd(), "machines": lines, "good_lists": self.good_lists}

    def close(self) -> None:
        """End every process."""
        for machine in self.machines.values():
            if machine.container is not None:
                machine.container.remove()
