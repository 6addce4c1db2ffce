"""What `aima doctor` makes of what it has seen: pure checks, each with the way to mend what is wrong.

Facts come in as values, gathered by probes.py. Sizes are bytes, times seconds, prices USD per hour.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from autoscaler.decisions.budget import Budgets, refusal

_PYTHONS = ((3, 11), (3, 13))
_RAY = (2, 60)
_PATCHES = "AIMA works all the same; what it costs: cluster/OPERATING.md, A newer Ray"
_GIB = 1 << 30
_LEAST_OPEN_FILES = 4096
_LEAST_MEMORY, _TIGHT_DISK, _LEAST_DISK = 3 * _GIB // 2, 5 * _GIB, _GIB // 2
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Tokens, leases and signed addresses bear a few seconds; join tokens live for minutes.
_CLOCK_WARNS_S, _CLOCK_FAILS_S = 5.0, 60.0
# Below it lie Ray's directory, a session and the sockets of up to 300 nodes; a Unix socket's path ends at 107 bytes.
LONGEST_TEMP_DIR = 25


class Verdict(StrEnum):
    """A warning can wait; what is bad stops the work or risks money."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do where it is not good."""

    subject: str
    verdict: Verdict
    detail: str
    mend: str = ""


@dataclass(frozen=True)
class MachineFacts:
    """This machine. `packages` are versions, None for what is not installed; `exposed` are private files that others
    can read."""

    python: tuple[int, int]
    packages: Mapping[str, str | None]
    open_files: int
    memory_free: int
    disk_free: int
    temp_dir: str
    http_host: str
    http_port: int
    port_taken: bool
    media_roots: Sequence[str]
    exposed: Sequence[str] = ()


@dataclass(frozen=True)
class BackendFacts:
    """A database or a storage that was really used; `clock_ahead_s` is how far its clock is ahead of ours."""

    subject: str
    name: str
    took_s: float
    error: str = ""
    clock_ahead_s: float | None = None


@dataclass(frozen=True)
class CloudFacts:
    """A cloud that was asked. `cheapest` has the best price for each node type that may come from it, None for none."""

    name: str
    error: str = ""
    instances: int = 0
    cheapest: Mapping[str, float | None] = field(default_factory=dict)
    clock_ahead_s: float | None = None


def machine_findings(facts: MachineFacts, works_here: bool) -> Iterator[Finding]:
    """Versions, limits, room and doors. `works_here`: this machine's own workers are to run models."""
    yield _python(facts.python)
    yield from _packages(facts.packages, works_here)
    yield _at_least("open files", facts.open_files, _LEAST_OPEN_FILES, "run `ulimit -n 65536` before `aima up`")
    yield _memory(facts.memory_free)
    yield _disk(facts.disk_free)
    if len(facts.temp_dir) > LONGEST_TEMP_DIR:
        detail = f"{facts.temp_dir} is too deep for Ray's sockets"
        yield Finding("temporary directory", Verdict.BAD, detail, "set TMPDIR=/tmp")
    yield _port(facts)
    yield from _doors(facts)


def _python(version: tuple[int, int]) -> Finding:
    name = ".".join(map(str, version))
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        return Finding("Python", Verdict.GOOD, name)
    return Finding("Python", Verdict.BAD, f"{name} is not supported", "make the environment with Python 3.11 to 3.13")


def _packages(versions: Mapping[str, str | None], works_here: bool) -> Iterator[Finding]:
    yield _ray(versions.get("ray"))
    extras = {"head": ("av", "boto3", "fastapi"), **({"worker": ("torch", "torchvision")} if works_here else {})}
    for extra, names in extras.items():
        missing = [name for name in names if versions.get(name) is None]
        if missing:
            mend = f"pip install 'aima-media[{extra}]'"
            yield Finding(f"packages of a {extra}", Verdict.BAD, f"missing: {', '.join(missing)}", mend)
        else:
            yield Finding(f"packages of a {extra}", Verdict.GOOD, "installed")


def _ray(version: str | None) -> Finding:
    """Older releases lack what AIMA is built on; newer ones run without the patches that were not proved on them."""
    proved = ".".join(map(str, _RAY))
    mend = f"pip install 'ray=={proved}.*'"
    release = tuple(int(part) for part in (version or "").split(".")[:2] if part.isdigit())
    if release < _RAY:
        return Finding("Ray", Verdict.BAD, f"{version or 'not installed'}; AIMA needs {proved}", mend)
    if release > _RAY:
        return Finding("Ray", Verdict.WARNING, f"{version}; AIMA was proved on {proved}", mend)
    return Finding("Ray", Verdict.GOOD, str(version))


def patch_findings(mode: str, warnings: Sequence[str]) -> Iterator[Finding]:
    """How Ray differs from what AIMA wants. `mode` is ray.patches, `warnings` are sentences."""
    for warning in warnings:
        yield Finding("Ray's patches", Verdict.WARNING, warning, _PATCHES)
    if not warnings:
        detail = "stock Ray: ray.patches is off" if mode == "off" else "all of them fit this Ray"
        yield Finding("Ray's patches", Verdict.GOOD, detail)


def _at_least(subject: str, value: int, least: int, mend: str) -> Finding:
    if value >= least:
        return Finding(subject, Verdict.GOOD, f"up to {value}")
    return Finding(subject, Verdict.WARNING, f"only {value}; streams and uploads need one each, {least} are safe", mend)


def _memory(free: int) -> Finding:
    detail = f"{free / _GIB:.1f} GiB are free"
    if free >= _LEAST_MEMORY:
        return Finding("memory", Verdict.GOOD, detail)
    return Finding("memory", Verdict.WARNING, f"{detail}; Ray's head needs 1 GiB", "end what else runs here")


def _disk(free: int) -> Finding:
    detail = f"{free / _GIB:.1f} GiB are free"
    if free >= _TIGHT_DISK:
        return Finding("disk", Verdict.GOOD, detail)
    verdict = Verdict.WARNING if free >= _LEAST_DISK else Verdict.BAD
    return Finding("disk", verdict, detail, "make room, or set state_dir and storage_uri to where there is some")


def _port(facts: MachineFacts) -> Finding:
    where = f"{facts.http_host}:{facts.http_port}"
    if facts.port_taken:
        mend = "set http.port (0 picks a free one), or end what listens there"
        return Finding("port", Verdict.BAD, f"{where} is taken by something else", mend)
    return Finding("port", Verdict.GOOD, f"{where} is free or ours" if facts.http_port else "a free one is picked")


def _doors(facts: MachineFacts) -> Iterator[Finding]:
    """What lets strangers in."""
    if facts.exposed:
        mend = f"chmod -R go= {' '.join(facts.exposed)}"
        yield Finding("secrets", Verdict.BAD, f"others can read {', '.join(facts.exposed)}", mend)
    else:
        yield Finding("secrets", Verdict.GOOD, "only you can read them")
    if facts.http_host not in _LOOPBACK:
        mend = "put a proxy with TLS in front, and let http.host be 127.0.0.1"
        yield Finding("TLS", Verdict.WARNING, f"the API listens on {facts.http_host} without TLS", mend)
        if "/" in facts.media_roots:
            mend = "set media.roots to the folders that hold media"
            yield Finding("media.roots", Verdict.WARNING, "every file of this machine may be named", mend)


def backend_finding(facts: BackendFacts, mend: str) -> Finding:
    """Whether it could be used."""
    if facts.error:
        return Finding(facts.subject, Verdict.BAD, f"{facts.name}: {facts.error}", mend)
    return Finding(facts.subject, Verdict.GOOD, f"{facts.name} answers in {facts.took_s * 1000:.0f} ms")


def reach_finding(storage_uri: str, apis: Mapping[str, str]) -> Finding:
    """Whether rented machines (by cloud, the root of its API) can read uploads and leave results. A cloud's fake server
    on this machine sells processes of this machine."""
    away = [name for name, url in apis.items() if urlsplit(url).hostname not in _LOOPBACK]
    if not away or storage_uri.startswith("s3://"):
        return Finding("way to the storage", Verdict.GOOD, "workers reach it")
    detail = f"machines of {', '.join(away)} cannot reach {storage_uri}: their results would be lost"
    return Finding("way to the storage", Verdict.BAD, detail, "set storage_uri to s3://bucket/prefix")


def clock_findings(ahead_s: Mapping[str, float | None]) -> Iterator[Finding]:
    """Our clock against others': a token or a lease is only as good as both clocks. `ahead_s` by whose clock it is."""
    for name, seconds in ahead_s.items():
        if seconds is None:
            continue
        apart = abs(seconds)
        if apart < _CLOCK_WARNS_S:
            yield Finding("clock", Verdict.GOOD, f"agrees with {name}'s within {max(1.0, apart):.0f} s")
        else:
            verdict = Verdict.WARNING if apart < _CLOCK_FAILS_S else Verdict.BAD
            side = "behind" if seconds > 0 else "ahead of"
            mend = "let this machine follow a time server: timedatectl set-ntp true"
            yield Finding("clock", verdict, f"{apart:.0f} s {side} {name}'s", mend)


def cloud_findings(facts: CloudFacts, budgets: Budgets) -> Iterator[Finding]:
    """Whether it can be bought from: key, offers, and whether the budgets allow the cheapest of them."""
    if facts.error:
        yield Finding(facts.name, Verdict.BAD, facts.error, "mend it at the cloud, or leave it out of node_types")
        return
    yield Finding(facts.name, Verdict.GOOD, f"the key works; {facts.instances} instances of this cluster exist")
    for node_type, price in facts.cheapest.items():
        subject = f"{facts.name}: {node_type}"
        if price is None:
            mend = f"ask for less in node_types.{node_type} (GPU names, memory, regions, trust), or add a cloud"
            yield Finding(subject, Verdict.WARNING, "nothing that meets the need is for sale now", mend)
        elif why := refusal(budgets, {}, facts.name, price):
            yield Finding(subject, Verdict.BAD, f"the cheapest is {price:g} USD/h, but {why}", "raise that limit")
        else:
            yield Finding(subject, Verdict.GOOD, f"from {price:g} USD/h")


def budget_findings(budgets: Budgets, pays: bool) -> Iterator[Finding]:
    """Whether a mistake can cost more than is meant. `pays`: a cloud that costs money may be bought from."""
    total = budgets.total
    limits = {"hour": total.per_hour_usd, "day": total.per_day_usd, "month": total.per_month_usd}
    told = ", ".join(f"{limit:g} USD per {window}" for window, limit in limits.items() if limit is not None)
    if pays and limits["day"] is None and limits["month"] is None:
        mend = "set budgets.per_day_usd or budgets.per_month_usd"
        yield Finding("budgets", Verdict.WARNING, "nothing limits what a day or a month may cost", mend)
    else:
        good = f"at most {told}; {total.consequence}" if told else "nothing here costs money"
        yield Finding("budgets", Verdict.GOOD, good)


def access_finding(url: str, error: str) -> Finding:
    """An API elsewhere that the command line speaks to."""
    if error:
        return Finding("API", Verdict.BAD, f"{url}: {error}", "look at api.url and api.key_file, and whether it is up")
    if url.startswith("http://") and not any(f"//{host}" in url for host in _LOOPBACK):
        return Finding(
            "API", Verdict.WARNING, f"{url}: the key travels for all to read", "let api.url begin with https"
        )
    return Finding("API", Verdict.GOOD, f"{url} answers, and takes the key")


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether nothing is bad."""
    return all(finding.verdict is not Verdict.BAD for finding in findings)
