"""Which media a request may name: files below the media roots, objects, and hosts of the public internet."""

import ipaddress
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

_WAYS = "give an absolute path, file://, http://, https:// or s3://"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class MediaRefused(ValueError):
    """The media may not be analysed; the message says why and the way out."""


def addresses_of(host: str) -> list[str]:
    """The addresses that a host name resolves to; none if it does not resolve here."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


@dataclass(frozen=True)
class MediaPolicy:
    """The rules of one service. A host is judged by its addresses now: what reads it later must judge redirects."""

    roots: tuple[str, ...]
    allow_private_hosts: bool = False
    storage: tuple[str, ...] = ()  # s3:// prefixes that may be named
    resolve: Callable[[str], list[str]] = addresses_of

    def check(self, uri: str) -> str:
        """The URI to analyse; local files as real paths. Raises MediaRefused. Touches the disk and the resolver."""
        if "://" not in uri:
            return self._check_file(uri)
        try:
            parts = urlsplit(uri)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise MediaRefused(f"not a URL: {error}; {_WAYS}") from None
        if parts.scheme == "file":
            return self._check_file(_file_path(parts))
        if parts.scheme not in ("http", "https", "s3"):
            raise MediaRefused(f"{parts.scheme}:// cannot be read; {_WAYS}")
        if not host:
            raise MediaRefused(f"the URL names no host; {_WAYS}")
        if parts.scheme == "s3":
            self._check_storage(uri, parts)
        else:
            self._check_host(host)
        return uri

    def _check_storage(self, uri: str, parts: SplitResult) -> None:
        # A query names another endpoint, dots another folder: neither is judged by a prefix.
        plain = not parts.query and not parts.fragment and ".." not in parts.path.split("/")
        if not plain or not any(uri.startswith(f"{prefix.rstrip('/')}/") for prefix in self.storage):
            raise MediaRefused(f"lies outside of media.storage; allowed: {', '.join(self.storage) or 'none'}")

    def _check_file(self, name: str) -> str:
        if not os.path.isabs(name):
            raise MediaRefused(f"a relative path means nothing to the service; {_WAYS}")
        try:
            path = Path(name).resolve(strict=True)
        except (OSError, RuntimeError):
            raise MediaRefused("there is no such file on the machine of the service") from None
        if not any(path.is_relative_to(Path(root).resolve()) for root in self.roots):
            raise MediaRefused(f"lies outside of the media roots; allowed: {', '.join(self.roots) or 'none'}")
        if not path.is_file():
            raise MediaRefused("is not a file; name the files of a folder one by one")
        if not os.access(path, os.R_OK):
            raise MediaRefused("cannot be read by the service; change its permissions")
        return str(path)

    def _check_host(self, host: str) -> None:
        if not self.allow_private_hosts and self.resolve(host):
            public_address(host, self.resolve)


def public_address(host: str, resolve: Callable[[str], list[str]] = addresses_of) -> str:
    """An address to connect to. Raises MediaRefused if the host has none, or one that is not public."""
    found = resolve(host)
    for address in found:
        if not _is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise MediaRefused(
                f"{host} is {address}, not on the public internet; media.allow_private_hosts: true allows it"
            )
    if not found:
        raise MediaRefused(f"{host} is not known to the resolver")
    return found[0]


def _file_path(parts: SplitResult) -> str:
    if parts.netloc not in ("", "localhost"):
        raise MediaRefused(f"file://{parts.netloc} is another machine; write file:///absolute/path")
    return unquote(parts.path)


def _is_public(address: IpAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast
