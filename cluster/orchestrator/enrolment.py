"""Who becomes a node: join tokens, the keys and addresses of those that have joined, and what they report.

All of it survives a restart of the orchestrator, so that machines that live go on, and machines that boot meanwhile
still get in. Digests of tokens and public keys are stored, no secret.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autoscaler.records.sentences import printable
from autoscaler.types import DRAINING, Intent
from cluster.config.state_directory import write_private
from cluster.orchestrator.guest_events import GuestEvents
from cluster.orchestrator.join_tokens import Joins, Refused
from cluster.overlay.addresses import Addresses, NodeAddress
from cluster.overlay.control import Enrolment
from cluster.overlay.ssh import key_knock

# What a machine may say of itself, in the order in which it comes.
PHASES = ("image up", "joined", "Ray up", "model loaded", DRAINING, "unfit")
_MAX_AGO_S = 86_400.0
_MAX_DETAIL_BYTES = 300


class Fleet(Protocol):
    """What admission asks of the launches, and tells them."""

    def launch(self, name: str) -> Intent | None:
        """A launch that is still wanted, else None."""
        ...

    def live_names(self) -> set[str]:
        """Every launch that exists or may exist."""
        ...

    def note(self, name: str, sentence: str) -> None:
        """Something worth an event has happened."""
        ...

    def reached(self, name: str, phase: str, detail: str, ago_s: float) -> None:
        """A machine has come this far, so many seconds ago."""
        ...


@dataclass(frozen=True)
class _Member:
    public_key: str
    machine: str


class Admission:
    """The doorkeeper. `admit` makes a node reachable in the overlay, `grant` is what it is then given."""

    def __init__(
        self,
        path: Path,
        joins: Joins,
        head: NodeAddress,
        fleet: Fleet,
        grant: Callable[[str, NodeAddress], Mapping[str, Any]],
        is_free: Callable[[NodeAddress], bool],
        clock: Callable[[], float],
    ) -> None:
        self._path, self.joins, self._fleet, self._grant = path, joins, fleet, grant
        self._is_free, self._clock = is_free, clock
        self._members, held = _load(path)
        self._addresses = Addresses(head, held)
        self._events = GuestEvents(fleet.note, clock)
        self.admit: Callable[[str, NodeAddress, str], Awaitable[Any]] | None = None
        self.forget: Callable[[str], None] | None = None

    def members(self) -> list[tuple[str, NodeAddress, str]]:
        """Every enrolled node: launch, address, machine."""
        return [(name, self._addresses.held[name], member.machine) for name, member in self._members.items()]

    def address_of(self, name: str) -> NodeAddress:
        """The launch's address, given now if it has none. Raises AddressesExhausted."""
        address = self._addresses.acquire(name, self._clock(), self._is_free)
        self._save()
        return address

    def awaits(self, knock: str) -> bool:
        """Whether a machine with a good token, or one that has enrolled, would knock like this."""
        return self.joins.awaits(knock) or any(key_knock(m.public_key) == knock for m in self._members.values())

    def expects(self, name: str, token: str) -> bool:
        """Whether the token is `name`'s, unused and unexpired, and the launch still wanted."""
        return self._fleet.launch(name) is not None and self.joins.expects(name, token)

    def knows(self, name: str, public_key: str) -> bool:
        """Whether this key was enrolled for `name`, which is still wanted."""
        member = self._members.get(name)
        return member is not None and member.public_key == public_key and self._fleet.launch(name) is not None

    async def enrol(self, name: str, token: str | None, enrolment: Enrolment) -> Mapping[str, Any]:
        """Use up the token and remember the key; the same grant again for a key that is known. Raises Refused."""
        if not self.knows(name, enrolment.public_key):
            self._use(name, token)
        self._members[name] = _Member(enrolment.public_key, enrolment.machine)
        address = self.address_of(name)
        assert self.admit is not None, "the hub is not running"
        await self.admit(name, address, enrolment.machine)
        return self._grant(name, address)

    def _use(self, name: str, token: str | None) -> None:
        try:
            self.joins.redeem(name, token or "")
        except Refused as error:
            self.refused(name, str(error))
            raise

    def reported(self, name: str, report: Mapping[str, Any]) -> None:
        """A node says how far it has come; anything but a known phase is ignored."""
        phase, ago_s = report.get("phase"), report.get("ago_s", 0.0)
        if phase in PHASES and isinstance(ago_s, int | float) and 0 <= ago_s < _MAX_AGO_S:
            detail = report.get("detail", "")
            detail = printable(detail, _MAX_DETAIL_BYTES) if isinstance(detail, str) else ""
            self._fleet.reached(name, str(phase), detail, float(ago_s))

    def refused(self, name: str, why: str) -> None:
        """Somebody was turned away. Strangers share one subject and one sentence, whatever they call themselves."""
        if self._fleet.launch(name) is None:
            self._events.tell("overlay", "a stranger was refused at the overlay's door")
        else:
            self._events.tell(name, f"refused at the overlay's door: {why}")

    def retire(self, live: set[str]) -> None:
        """Forget every node whose launch is over."""
        self._events.turn()
        over = [name for name in {*self._members, *self._addresses.held} if name not in live]
        for name in over:
            self._members.pop(name, None)
            self._addresses.release(name, self._clock())
            if self.forget is not None:
                self.forget(name)
        if over:
            self._save()

    def _save(self) -> None:
        nodes = {
            name: {
                "host": address.host,
                "base_port": address.base_port,
                "public_key": self._members[name].public_key if name in self._members else "",
                "machine": self._members[name].machine if name in self._members else "",
            }
            for name, address in self._addresses.held.items()
        }
        write_private(self._path, json.dumps(nodes))


def _load(path: Path) -> tuple[dict[str, _Member], dict[str, NodeAddress]]:
    if not path.exists():
        return {}, {}
    nodes = json.loads(path.read_text(encoding="utf-8"))
    held = {name: NodeAddress(node["host"], node["base_port"]) for name, node in nodes.items()}
    members = {n: _Member(node["public_key"], node["machine"]) for n, node in nodes.items() if node["public_key"]}
    return members, held
