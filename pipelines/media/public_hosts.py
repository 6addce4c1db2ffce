"""Which addresses are on the public internet: users' URLs may lead there and nowhere else."""

import ipaddress
import socket
from collections.abc import Callable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# `ipaddress.is_global` follows IANA's registries, but what it knows differs between patch releases of Python. So both
# have to agree: it, and these networks (IANA's special-purpose registries of 2025, and what clouds answer at).
_NOT_PUBLIC_V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",  # Oracle's metadata among others
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",  # Azure's own services, in every machine of it
    "161.26.0.0/16",  # IBM Cloud's own services
)
# Only 2000::/3 is handed out; these parts of it are not, or hold an IPv4 address that a gateway would unpack.
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = tuple(map(ipaddress.ip_network, (*_NOT_PUBLIC_V4, *_NOT_PUBLIC_V6)))
# A name with more answers than this is not tried further: each try may last as long as a connection does.
_MOST_ANSWERS = 8
NOT_ALLOWED = "not allowed: the host is not on the public internet"


class NotPublic(ValueError):
    """A host is unknown, or has an address that is not on the public internet. The message names no address."""


def addresses_of(host: str) -> list[str]:
    """The addresses that a host name resolves to; none if it does not resolve here."""
    try:
        found = [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(found))


def public_addresses(host: str, resolve: Callable[[str], list[str]] = addresses_of) -> list[str]:
    """The addresses to connect to, in turn. Raises NotPublic if the host has none, or any that is not public."""
    found = resolve(host)
    if not all(map(_is_public_text, found)):
        raise NotPublic(NOT_ALLOWED)
    if not found:
        raise NotPublic("the host is not known to the resolver")
    return found[:_MOST_ANSWERS]


def _is_public_text(address: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(address))
    except ValueError:
        return False


def is_public(address: IpAddress) -> bool:
    """Whether the address, and the IPv4 address inside of it, is handed out for everybody to reach."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _PUBLIC_V6 or address.scope_id is not None:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NEVER)
