"""Which addresses are on the public internet: users' URLs may lead there and nowhere else."""

import ipaddress
import socket
from collections.abc import Callable

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotPublic(ValueError):
    """A host is unknown, or has an address that is not on the public internet; the message names it."""


def addresses_of(host: str) -> list[str]:
    """The addresses that a host name resolves to; none if it does not resolve here."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def public_address(host: str, resolve: Callable[[str], list[str]] = addresses_of) -> str:
    """An address to connect to. Raises NotPublic if the host has none, or any that is not public."""
    found = resolve(host)
    for address in found:
        if not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise NotPublic(f"{host} is {address}, not on the public internet")
    if not found:
        raise NotPublic(f"{host} is not known to the resolver")
    return found[0]


def is_public(address: IpAddress) -> bool:
    """Whether the address, and the IPv4 address inside of it, is reachable by everybody."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast
