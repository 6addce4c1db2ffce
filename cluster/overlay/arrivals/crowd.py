"""Who may wait at the hub's door, and who has to go when too many do: limits in all and for each source network."""

import ipaddress
from collections.abc import Hashable
from typing import Generic, TypeVar

Guest = TypeVar("Guest", bound=Hashable)


def network_of(host: str) -> str:
    """The network that an address is counted with: its IPv4 /24 or IPv6 /64, which one party usually holds."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket has no address
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    length = 24 if address.version == 4 else 64
    return str(ipaddress.ip_network((address, length), strict=False))


class Crowd(Generic[Guest]):
    """Guests by source, oldest first. Whoever enters a full crowd pushes the oldest of the largest group out."""

    def __init__(self, most: int, most_of_a_source: int) -> None:
        self._most, self._most_of_a_source = most, most_of_a_source
        self._guests: dict[str, dict[Guest, float]] = {}
        self._sources: dict[Guest, str] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._sources

    def enter(self, guest: Guest, source: str, now: float) -> Guest | None:
        """Let it in; returns whoever has to go for it."""
        own, goes = self._guests.get(source, {}), None
        if len(own) >= self._most_of_a_source:
            goes = next(iter(own))
        elif len(self) >= self._most:
            largest = max(self._guests, key=lambda each: len(self._guests[each]))
            goes = next(iter(self._guests[largest]))
        if goes is not None:
            self.leave(goes)
        self._guests.setdefault(source, {})[guest] = now
        self._sources[guest] = source
        return goes

    def leave(self, guest: Guest) -> None:
        """It has gone; unknown guests are ignored."""
        source = self._sources.pop(guest, None)
        if source is not None:
            del self._guests[source][guest]
            if not self._guests[source]:
                del self._guests[source]

    def since_before(self, then: float) -> list[Guest]:
        """Who came before `then`."""
        return [guest for guests in self._guests.values() for guest, came in guests.items() if came < then]

    def everybody(self) -> list[Guest]:
        """Who is in."""
        return list(self._sources)
