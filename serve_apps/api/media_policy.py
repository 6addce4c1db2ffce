"""Which media a request may name: files below the media roots, objects, and hosts of the public internet.

What a stranger is told says what is not allowed, and nothing of what is there: no address of a host, no file that
exists.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.media.addresses import AddressRefused, LocalFile, StoredObject, WebAddress, parse_address, trusted
from pipelines.media.public_hosts import NOT_ALLOWED, NotPublic, addresses_of, public_addresses

_WAYS = "upload it (POST /v1/uploads), or give an http(s) URL"
_JUDGED_AT_ONCE = 32
# Names whose answers take longer are let in: whoever connects judges them in any case.
_JUDGED_WITHIN_S = 3.0


class MediaRefused(ValueError):
    """The media may not be analysed; the message says why and the way out."""


def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_JUDGED_AT_ONCE, thread_name_prefix="resolving")


@dataclass(frozen=True)
class MediaPolicy:
    """The rules of one service. A host is judged by its addresses now, and by its reader again.

    `owner_roots`: folders that only the holder of the deployment's own token may name. `storage`: s3:// prefixes.
    """

    roots: tuple[str, ...]
    allow_private_hosts: bool = False
    storage: tuple[str, ...] = ()
    resolve: Callable[[str], list[str]] = addresses_of
    owner_roots: tuple[str, ...] = ()
    _pool: ThreadPoolExecutor = field(default_factory=_resolvers, repr=False, compare=False)

    def check(self, uri: str, by_owner: bool = False) -> str:
        """The URI to analyse, in its one form; local files as real paths. Raises MediaRefused.

        Touches the disk and the resolver, so it is for a thread.
        """
        return self.check_all([uri], by_owner)[0].uri

    def check_all(self, uris: Iterable[str], by_owner: bool = False) -> "list[Judged]":
        """Each URI's form or refusal; their hosts are looked up side by side, and for three seconds in all."""
        judged = [self._judged(uri, by_owner) for uri in uris]
        hosts = {one.address.host for one in judged if isinstance(one.address, WebAddress)}
        refused = set() if self.allow_private_hosts else self._refused(hosts)
        return [Judged(one.address, NOT_ALLOWED) if _host(one) in refused else one for one in judged]

    def readable(self, uri: str) -> str:
        """What the reader is given: it reaches the public internet only, unless the operator allows more."""
        return trusted(uri) if self.allow_private_hosts else uri

    def check_webhook(self, url: str) -> str:
        """The URL to call, in its one form. Raises MediaRefused."""
        (judged,) = self.check_all([url])
        if judged.refusal and not isinstance(judged.address, WebAddress):
            raise MediaRefused("a webhook is an http(s) URL on the public internet")
        return judged.uri

    def _judged(self, uri: str, by_owner: bool) -> "Judged":
        address: LocalFile | StoredObject | WebAddress | None = None
        try:
            address = parse_address(uri)
            if isinstance(address, StoredObject):
                self._check_storage(address)
            elif isinstance(address, LocalFile):
                address = LocalFile(self._checked_path(address.path, by_owner))
        except (AddressRefused, MediaRefused) as error:
            return Judged(address, str(error))
        return Judged(address, "")

    def _refused(self, hosts: set[str]) -> set[str]:
        """The hosts that are known not to be public."""
        asked = {self._pool.submit(self._is_inside, host): host for host in hosts}
        answered, late = wait(asked, _JUDGED_WITHIN_S)
        for one in late:
            one.cancel()
        return {asked[one] for one in answered if one.result()}

    def _is_inside(self, host: str) -> bool:
        try:
            public_addresses(host, self.resolve)
        except NotPublic as error:
            return str(error) == NOT_ALLOWED
        return False

    def _check_storage(self, address: StoredObject) -> None:
        # A query names another endpoint, dots another folder: neither is judged by a prefix.
        plain = not address.query and not address.userinfo and not {"..", "."} & set(address.key.split("/"))
        uri = address.to_text()
        if not plain or not any(uri.startswith(f"{prefix.rstrip('/')}/") for prefix in self.storage):
            allowed = ", ".join(self.storage) or "none"
            raise MediaRefused(f"not allowed: it lies outside of media.storage; allowed: {allowed}")

    def _checked_path(self, name: str, by_owner: bool) -> str:
        roots = self.roots + (self.owner_roots if by_owner else ())
        if not roots:
            raise MediaRefused(f"not allowed: files of the service's machine cannot be named here; {_WAYS}")
        if not os.path.isabs(name):
            raise MediaRefused("a relative path means nothing to the service; write it from / on")
        try:
            path = Path(name).resolve()
        except (OSError, RuntimeError, ValueError):
            path = Path("/")
        # Before anything is said of what is there: outside, nothing is.
        if not any(path.is_relative_to(Path(root).resolve()) for root in roots):
            raise MediaRefused(f"not allowed: it lies outside of the media roots; {_WAYS}")
        return _readable_file(path)


@dataclass(frozen=True)
class Judged:
    """What a URI was found to be. `refusal`: why it may not be analysed, "" if it may."""

    address: LocalFile | StoredObject | WebAddress | None
    refusal: str

    @property
    def uri(self) -> str:
        """Its one form, with its credentials. Raises MediaRefused."""
        if self.refusal or self.address is None:
            raise MediaRefused(self.refusal)
        return self.address.to_text()


def _host(judged: Judged) -> str | None:
    return judged.address.host if isinstance(judged.address, WebAddress) else None


def _readable_file(path: Path) -> str:
    try:
        if not path.exists():
            raise MediaRefused("there is no such file on the machine of the service")
        if not path.is_file():
            raise MediaRefused("is not a file; name the files of a folder one by one")
    except OSError:  # such as a name that is too long
        raise MediaRefused("there is no such file on the machine of the service") from None
    if not os.access(path, os.R_OK):
        raise MediaRefused("cannot be read by the service; change its permissions")
    return str(path)
