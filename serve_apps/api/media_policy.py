"""Which media a request may name: files below the media roots, objects, and hosts of the public internet."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pipelines.media.http_file import public_only
from pipelines.media.public_hosts import NotPublic, addresses_of, public_address

_WAYS = "give an absolute path, file://, http://, https:// or s3://"


class MediaRefused(ValueError):
    """The media may not be analysed; the message says why and the way out."""


@dataclass(frozen=True)
class MediaPolicy:
    """The rules of one service. A host is judged by its addresses now, and by its reader again."""

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
            return uri
        self._check_host(host)
        return uri.partition("#")[0]

    def readable(self, uri: str) -> str:
        """What the reader is given: strangers' URLs are marked, so that it judges each connection again."""
        if self.allow_private_hosts or not uri.startswith(("http://", "https://")):
            return uri
        return public_only(uri)

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
        if self.allow_private_hosts or not self.resolve(host):
            return
        try:
            public_address(host, self.resolve)
        except NotPublic as error:
            raise MediaRefused(f"{error}; media.allow_private_hosts: true allows it") from None


def _file_path(parts: SplitResult) -> str:
    if parts.netloc not in ("", "localhost"):
        raise MediaRefused(f"file://{parts.netloc} is another machine; write file:///absolute/path")
    return unquote(parts.path)
