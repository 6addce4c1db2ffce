"""What a media address is: one parser, one type for each kind of place.

All that opens or shows an address goes through it.

A web address leads to the public internet and nowhere else, unless its owner has called it `trusted`: a presigned URL
of our own storage, or any host where the operator allows private ones. Text from a stranger can never say so, since
`parse_address` drops what `WebAddress.to_text` adds.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit

_WAYS = "give an absolute path, file://, http://, https:// or s3://"
_TRUSTED = "#trusted"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Characters that a path or a query may hold as they are; the rest is percent-encoded.
_SAFE = "/%:@!$&'()*+,;=~-._?[]"
_SECRET_PARAMETER = re.compile(
    r"sig|sign|key|code|auth|pass|pwd|awsaccesskeyid|policy|hmac|jwt|session|"
    r".*(?:signature|token|secret|password|credential|security|api[_-]?key|access[_-]?key|key[_-]?pair).*",
    re.IGNORECASE,
)
_OPAQUE_LENGTH = 24  # the value of a parameter of any name is taken for a secret from this length on
HIDDEN = "hidden"


class AddressRefused(ValueError):
    """The text is no address that can be read; the message says why and the way out, and repeats none of it."""


@dataclass(frozen=True)
class LocalFile:
    """A file of the machine that reads it."""

    path: str

    def to_text(self) -> str:
        """What `read_address` reads."""
        return self.path

    def shown(self) -> str:
        """What may be shown and logged."""
        return self.path


@dataclass(frozen=True)
class StoredObject:
    """An object of an object store. `query` may name another endpoint: no stranger may give one."""

    bucket: str
    key: str
    query: str = ""
    userinfo: str = field(default="", repr=False)

    def to_text(self) -> str:
        """What `read_address` reads, and pyarrow too."""
        user = f"{self.userinfo}@" if self.userinfo else ""
        return f"s3://{user}{self.bucket}/{self.key}" + (f"?{self.query}" if self.query else "")

    def shown(self) -> str:
        """What may be shown and logged."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class WebAddress:
    """An http or https URL. `host` is lower case and ASCII; `target` is path and query.

    `userinfo` (name:password) is kept apart from everything that is shown.
    """

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str = field(default="", repr=False)
    trusted: bool = False

    @property
    def url(self) -> str:
        """Without the name and the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"

    @property
    def url_with_credentials(self) -> str:
        """For the client that makes the connection, and nobody else."""
        user = f"{self.userinfo}@" if self.userinfo else ""
        return self.url.replace("://", f"://{user}", 1)

    @property
    def has_credentials(self) -> bool:
        """Whether the URL holds more than may be shown."""
        return bool(self.userinfo) or self.shown() != self.url

    def to_text(self) -> str:
        """What `read_address` reads: with the credentials and the trust. For the reader that is handed the file."""
        return self.url_with_credentials + (_TRUSTED if self.trusted else "")

    def shown(self) -> str:
        """What may be shown, stored and logged: without credentials, in the authority and in the query."""
        path, mark, query = self.target.partition("?")
        if not mark:
            return self.url
        hidden = "&".join(_without_secret(part) for part in query.split("&"))
        return replace(self, target=f"{path}?{hidden}").url


MediaAddress = LocalFile | StoredObject | WebAddress


def parse_address(text: str) -> MediaAddress:
    """The address that anybody may have written: never trusted. Raises AddressRefused."""
    return _parsed(text)


def read_address(text: str) -> MediaAddress:
    """The address as `to_text` of one wrote it: for readers, who are handed it by the service or by a command line.

    Raises AddressRefused.
    """
    address = _parsed(text)
    if isinstance(address, WebAddress) and text.endswith(_TRUSTED):
        return replace(address, trusted=True)
    return address


def trusted(text: str) -> str:
    """The same address, which may lie inside a private network too. Only for what no stranger has named."""
    address = _parsed(text)
    return replace(address, trusted=True).to_text() if isinstance(address, WebAddress) else text


def shown(text: str) -> str:
    """What may be shown of an address: no credentials. Names that are no address are shown as they are."""
    try:
        return _parsed(text).shown()
    except AddressRefused:
        return text.partition("?")[0].rpartition("@")[2] if "://" in text else text


def is_local(text: str) -> bool:
    """Whether it is a file of the machine that reads it."""
    try:
        return isinstance(_parsed(text), LocalFile)
    except AddressRefused:
        return False


def _parsed(text: str) -> MediaAddress:
    if not text or _CONTROLS.search(text):
        raise AddressRefused(f"an address holds no control characters; {_WAYS}")
    found = _SCHEME.match(text)
    if found is None:
        return LocalFile(text)
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme not in _SCHEMES:
        raise AddressRefused(f"{scheme}:// cannot be read; {_WAYS}")
    if "\\" in rest or rest != rest.strip():
        raise AddressRefused("not a URL: it holds a backslash, or a space at an end")
    return _SCHEMES[scheme](scheme, rest.partition("#")[0])


def _file(_scheme: str, rest: str) -> LocalFile:
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise AddressRefused("file:// with a host is another machine; write file:///absolute/path")
    path = unquote(slash + path, errors="surrogateescape")
    if not path or "\0" in path or _CONTROLS.search(path):
        raise AddressRefused("a file's path holds no control characters; write file:///absolute/path")
    return LocalFile(path)


def _object(_scheme: str, rest: str) -> StoredObject:
    where, _, query = rest.partition("?")
    place, _, key = where.partition("/")
    userinfo, _, bucket = place.rpartition("@")
    if not bucket:
        raise AddressRefused(f"the URL names no bucket; {_WAYS}")
    if not _BUCKET.fullmatch(bucket):
        raise AddressRefused("not a bucket's name; write s3://bucket/key")
    return StoredObject(bucket, key, query, userinfo)


def _web(scheme: str, rest: str) -> WebAddress:
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    userinfo, _, place = authority.rpartition("@")
    if "@" in userinfo or any(c.isspace() for c in authority):
        raise AddressRefused("not a URL: the part before the path holds more than one @, or a space")
    host, port = _host_and_port(place)
    if target.startswith("?"):
        target = f"/{target}"
    return WebAddress(scheme, host, port or _DEFAULT_PORTS[scheme], quote(target, safe=_SAFE), userinfo)


def _host_and_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        literal, closed, behind = place[1:].partition("]")
        if not closed or (behind and not behind.startswith(":")):
            raise AddressRefused("not a URL: an IPv6 address is written in brackets, as in http://[2001:db8::1]/")
        host, port = _ipv6(literal), behind[1:]
    else:
        name, _, port = place.partition(":")
        host = _host_name(name)
    if port and not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise AddressRefused("not a URL: its port is no number from 1 to 65535")
    return host, int(port) if port else None


def _ipv6(literal: str) -> str:
    try:
        if "%" in literal:
            raise ValueError
        return str(ipaddress.IPv6Address(literal))
    except ValueError:
        raise AddressRefused("not a URL: what stands in brackets is no IPv6 address (without a zone)") from None


def _host_name(name: str) -> str:
    """In lower case and ASCII. What resolvers read as a number has to be an IPv4 address in four decimals."""
    if not name:
        raise AddressRefused(f"the URL names no host; {_WAYS}")
    host = name.lower() if name.isascii() else _ascii(name)
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("not a URL: a host is letters, digits, hyphens and dots")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            detail = "an IPv4 address is four decimal numbers; other forms are not on the public internet"
            raise AddressRefused(f"not allowed: {detail}") from None
    return host


def _ascii(name: str) -> str:
    import idna  # noqa: PLC0415 - few names need it

    try:
        return idna.encode(name, uts46=True, transitional=False).decode().lower()
    except (idna.IDNAError, UnicodeError):
        raise AddressRefused("not a URL: its host is no international domain name") from None


_SCHEMES: dict[str, Callable[[str, str], MediaAddress]] = {"file": _file, "s3": _object, "http": _web, "https": _web}


def _without_secret(part: str) -> str:
    name, mark, value = part.partition("=")
    if not mark:
        return part if len(part) < _OPAQUE_LENGTH else HIDDEN
    if _SECRET_PARAMETER.fullmatch(unquote(name)) or name.lower().startswith(("x-amz-", "x-goog-")):
        return f"{name}={HIDDEN}"
    return part if len(value) < _OPAQUE_LENGTH else f"{name}={HIDDEN}"


def last_name(text: str) -> str:
    """The last part of a path or URL, without a query: a presigned URL's is a secret."""
    public = shown(text)
    path = urlsplit(public).path if "://" in public else public
    return path.rstrip("/").rpartition("/")[2] or path or public.partition("?")[0]
