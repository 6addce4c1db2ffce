"""What decide.py tells the shell to do."""

from dataclasses import dataclass

from autoscaler.types import Instance


@dataclass(frozen=True)
class Buy:
    """Buy a machine for this intent, from one of these clouds."""

    name: str
    clouds: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """This launch cannot be bought now, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Adopt:
    """The purchase of unknown outcome has happened: this is its instance."""

    name: str
    instance: Instance


@dataclass(frozen=True)
class Terminate:
    """Ask the cloud for the end of an instance. Its launch ends with it, unless it is a `double`.

    `broken`: the machine or its price is to blame, so its offer had better rest. `unlisted`: no new list shows it.
    """

    instance: Instance
    reason: str
    double: bool = False
    broken: bool = False
    unlisted: bool = False


@dataclass(frozen=True)
class Drain:
    """Let a node take no new work: what runs there may end within the policy's `drain_s`, then the machine goes."""

    name: str
    reason: str


@dataclass(frozen=True)
class Close:
    """Nothing of it exists since `at` (unix s; None: now). `failed`: never bought. `broken`: it vanished early."""

    name: str
    reason: str
    at: float | None = None
    failed: bool = False
    broken: bool = False


@dataclass(frozen=True)
class LookUp:
    """Ask the cloud for this launch's machine by its id: a list omits it, or there is no list."""

    name: str
    cloud: str
    instance_id: str


Command = Buy | Wait | Adopt | Drain | Terminate | Close | LookUp
