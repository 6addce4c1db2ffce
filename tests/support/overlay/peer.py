"""The overlay's two sides as programs for hosts of a test network, with a small service on each node.

python -m tests.support.overlay.peer hub PORT DIRECTORY SILENCE_S NAME...   the head, to which launches NAME... may join
python -m tests.support.overlay.peer spoke DIRECTORY NAME HUB GRACE_S       a worker; HUB is host:port or unix:/path
python -m tests.support.overlay.peer serve PORT                             the same small service without an overlay
python -m tests.support.overlay.peer ask HOST PORT REQUEST                  one request to a node's service

Each prints one JSON object per line. Requests: `send N` (answered with N bytes), `echo TEXT`, `ping COUNT`.
"""

import asyncio
import contextlib
import json
import resource
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscaler.types import Intent, IntentState
from autoscaler.worker_command import HubAddress
from cluster.orchestrator.enrolment import Admission
from cluster.orchestrator.join_tokens import Joins
from cluster.overlay.addresses import NodeAddress, node_address
from cluster.overlay.hub import Hub, load_host_key
from cluster.overlay.spoke import HeadLost, JoinRefused, Spoke
from cluster.worker.loopback_device import bring_up

HEAD = node_address(0)
_CHUNK = bytes(range(256)) * 1024


def say(**facts: Any) -> None:
    """One line for whoever started us."""
    print(json.dumps(facts), flush=True)


def service_port(address: NodeAddress) -> int:
    """Where a node's service listens: a port that a Ray process could have."""
    return address.base_port + 20


class _Launches:
    """Every launch is wanted; what becomes of it is printed."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def launch(self, name: str) -> Intent | None:
        return Intent(name, "gpu", IntentState.BOUGHT, 0.0) if name in self._names else None

    def live_names(self) -> set[str]:
        return set(self._names)

    def note(self, name: str, sentence: str) -> None:
        say(event=sentence, name=name)

    def reached(self, name: str, phase: str, detail: str, ago_s: float) -> None:
        say(phase=phase, name=name)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        verb, _, rest = (await reader.readline()).decode().strip().partition(" ")
        if verb == "send":
            left = int(rest)
            while left > 0:
                writer.write(_CHUNK[:left])
                left -= len(_CHUNK)
                await writer.drain()
        elif verb == "ping":
            for _ in range(int(rest)):
                writer.write(await reader.readexactly(1))
        else:
            writer.write(rest.encode())
        await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """The service at every address of this host."""
    server = await asyncio.start_server(_serve, "", port)
    await server.serve_forever()


async def hub(port: int, directory: Path, silence_s: float, names: list[str]) -> None:
    """The head: joins are answered from `directory`, which is also where spokes find their tokens."""
    joins = Joins(time.time, directory / "pending.json")

    def grant(_name: str, address: NodeAddress) -> Mapping[str, Any]:
        return {"host": address.host, "base_port": address.base_port, "silence_s": silence_s}

    admission = Admission(
        directory / "nodes.json", joins, HEAD, _Launches(names), grant, lambda _address: True, time.time
    )
    door = Hub(HEAD, load_host_key(directory / "key"), admission, silence_s)
    admission.admit, admission.forget = door.admit, door.forget
    bound = await door.start("", port, directory / "hub.sock")
    await asyncio.start_server(_serve, HEAD.host, service_port(HEAD))
    for name, address, machine in admission.members():
        await door.admit(name, address, machine)
    known = {name for name, _, _ in admission.members()}
    tokens = {name: joins.issue(name) for name in names if name not in known}
    (directory / "hub.json").write_text(json.dumps({"fingerprint": door.fingerprint, "tokens": tokens}))
    say(ready=bound)
    before = resource.getrusage(resource.RUSAGE_SELF)
    while line := await asyncio.to_thread(sys.stdin.readline):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
        up = [node.name for node in door.nodes.values() if node.up.is_set()]
        if line.strip() == "usage":
            say(rss_bytes=_resident_bytes(), cpu_s=cpu_s, up=up)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


async def spoke(directory: Path, name: str, where: str, grace_s: float) -> None:
    """A worker that offers the service at its own address until the head is lost."""
    facts = json.loads((directory / "hub.json").read_text())
    if where.startswith("unix:"):
        bring_up()
    own = Spoke(HubAddress.parse(where, facts["fingerprint"]), name, facts["tokens"].get(name, ""))
    started = time.monotonic()
    try:
        granted = await own.join(30)
        assert own.address is not None
        await asyncio.start_server(_serve, own.address.host, service_port(own.address))
        own.report({"phase": "joined"})
        say(joined=granted, seconds=time.monotonic() - started)
        await own.stay(grace_s)
    except (HeadLost, JoinRefused) as error:
        say(ended=str(error), refused=isinstance(error, JoinRefused))


def ask(host: str, port: int, request: str) -> None:
    """Print how many bytes came in how many seconds, and the text of a short answer."""
    started = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=60) as connection:
            connection.sendall(request.encode() + b"\n")
            if request.startswith("ping"):
                say(round_trips_ms=_ping(connection, int(request.split()[1])))
                return
            received, last = 0, b""
            while data := connection.recv(1024**2):
                received, last = received + len(data), data
    except OSError as error:
        say(error=str(error), seconds=time.monotonic() - started)
        return
    text = last.decode(errors="replace") if received < 1000 else ""
    say(bytes=received, seconds=time.monotonic() - started, text=text)


def _ping(connection: socket.socket, count: int) -> list[float]:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        connection.sendall(b"x")
        connection.recv(1)
        times.append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    """What the arguments say."""
    match sys.argv[1:]:
        case ["hub", port, directory, silence_s, *names]:
            asyncio.run(hub(int(port), Path(directory), float(silence_s), names))
        case ["spoke", directory, name, where, grace_s]:
            asyncio.run(spoke(Path(directory), name, where, float(grace_s)))
        case ["serve", port]:
            asyncio.run(serve(int(port)))
        case ["ask", host, port, request]:
            ask(host, int(port), request)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
