"""What the overlay costs, and what a crowd at its door: `python -m tests.benchmarks.overlay [--mb 400] [--spokes 50]`.

Between namespaces on this machine, each worker in its own, in one run: 400 MB from the head to a worker and back over
the overlay, and the same over a plain TCP connection on the same virtual cable; the round trip of a byte; the hub's
memory per spoke and its share of a core with idle spokes. Goals: 300 MB/s, 0.5 ms added, 2 MiB a spoke, 2 % of a core
with 50 of them.

Then, with a round trip of 120 ms, strangers dial the hub 1,000 times a second from the network that the workers come
from, once without a word and once as SSH clients that stop half-way, while workers join. Goal: each has joined within
15 s. The last line of the output is JSON (--json: the only one). It needs root, and loads nothing but its own
namespaces.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.overlay.addresses import NodeAddress
from tests.support.overlay import namespaces
from tests.support.overlay.hosts import PEER, ROOT, Hosts, Program, hosts
from tests.support.overlay.namespaces import HEAD_ADDRESS
from tests.support.overlay.peer import HEAD

_HUB_PORT = 7022
_PORT = 7023  # of the head, for the plain connection
_OFFSET = 21  # in a node's block: a port that a Ray process could have
_PINGS = 2000
_ROUND_TRIP_MS = 120.0
_RELAY_PORT = 7024
_KINDS, _JOINING, _CROWDED_S = ("quiet", "bare", "exchange"), 3, 5.0


def main() -> None:
    """Measure, print against the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mb", type=int, default=400)
    parser.add_argument("--spokes", type=int, default=50)
    parser.add_argument("--per-second", type=float, default=1000.0)
    parser.add_argument("--idle-s", type=float, default=30.0)
    options = parser.parse_args()
    if why := namespaces.missing():
        sys.exit(f"this benchmark needs network namespaces: {why}")
    names = [f"n{i}" for i in range(options.spokes)]
    with (
        tempfile.TemporaryDirectory() as directory,
        namespaces.network(_HUB_PORT, names) as network,
        hosts(network, Path(directory), names) as own,
    ):
        hub = own.start_hub()
        report = {**_streams(own, hub, options.mb), **_idle(own, hub, names[1:], options.idle_s)}
    report |= _crowded(options.per_second)
    if not options.json:
        print("\n".join(f"{k:28} {v}" for k, v in report.items()))
    print(json.dumps(report))


def _streams(own: Hosts, hub: Program, mb: int) -> dict[str, float]:
    _spoke, address = own.join("n0", "n0")
    own.wait_until_reached("n0")
    own.where.run("gateway", "nft", "add", "rule", "inet", "aima", "forward", "tcp", "dport", str(_PORT), "accept")
    with (
        _service(own, "head", HEAD.base_port + _OFFSET),
        _service(own, "n0", address.base_port + _OFFSET),
        _service(own, "head", _PORT),
    ):
        send, ping = f"send {mb * 1_000_000}", f"ping {_PINGS}"
        before = hub.tell("usage")["cpu_s"]
        down = own.ask_port("n0", HEAD.host, HEAD.base_port + _OFFSET, send)["seconds"]
        up = own.ask_port("head", address.host, address.base_port + _OFFSET, send)["seconds"]
        hub_cpu_s = hub.tell("usage")["cpu_s"] - before
        direct = own.ask_port("n0", HEAD_ADDRESS, _PORT, send)["seconds"]
        over = statistics.median(own.ask_port("n0", HEAD.host, HEAD.base_port + _OFFSET, ping)["round_trips_ms"])
        under = statistics.median(own.ask_port("n0", HEAD_ADDRESS, _PORT, ping)["round_trips_ms"])
    return {
        "mb_per_s": round(mb / max(down, up), 1),
        "mb_per_s_to_worker": round(mb / down, 1),
        "mb_per_s_to_head": round(mb / up, 1),
        "mb_per_s_direct": round(mb / direct, 1),
        "hub_cpu_s_per_gb": round(hub_cpu_s / (2 * mb) * 1000, 2),
        "added_rtt_ms": round(over - under, 3),
    }


@contextlib.contextmanager
def _service(own: Hosts, host: str, port: int) -> Iterator[None]:
    """The same small service as a process of its own, at every address of the host."""
    with subprocess.Popen(own.where.command(host, [*PEER, "serve", str(port)]), cwd=ROOT) as process:
        try:
            while "error" in own.ask_port(host, "127.0.0.1", port, "echo on"):
                time.sleep(0.1)
            yield
        finally:
            process.kill()


def _idle(own: Hosts, hub: Program, names: list[str], idle_s: float) -> dict[str, float]:
    before = hub.tell("usage")
    spokes = [own.start_spoke(name, name) for name in names]
    grants = [spoke.wait_for("joined", 180)["joined"] for spoke in spokes]
    newest = max((NodeAddress(grant["host"], grant["base_port"]) for grant in grants), key=lambda each: each.base_port)
    for name in names:  # until the news of the newest has gone round
        own.wait_until_reached(name, newest)
    first = hub.tell("usage")
    time.sleep(idle_s)
    last = hub.tell("usage")
    return {
        "hub_mib_per_spoke": round((last["rss_bytes"] - before["rss_bytes"]) / len(names) / 1024**2, 3),
        "hub_cpu_percent": round((last["cpu_s"] - first["cpu_s"]) / idle_s * 100, 2),
        "idle_spokes": len(last["up"]),
    }


def _crowded(per_second: float) -> dict[str, float]:
    """How long workers take to join while strangers dial."""
    names = [f"{kind}{number}" for kind in _KINDS for number in range(_JOINING)]
    report: dict[str, float] = {"crowd_per_second": per_second, "round_trip_ms": _ROUND_TRIP_MS}
    with (
        tempfile.TemporaryDirectory() as directory,
        namespaces.network(_HUB_PORT, ["workers", "strangers"]) as network,
        hosts(network, Path(directory), names) as own,
        contextlib.ExitStack() as stack,
    ):
        far = stack.enter_context(own.distance("workers", _RELAY_PORT, _ROUND_TRIP_MS))
        hub = own.start_hub()
        for kind in _KINDS:
            with own.crowd("strangers", per_second, 110.0, kind) if kind != "quiet" else contextlib.nullcontext():
                before = hub.tell("usage")
                if kind != "quiet":
                    time.sleep(_CROWDED_S)  # as long as it takes to fill every place
                spokes = [own.start_spoke("workers", name, hub=far) for name in names if name.startswith(kind)]
                report[f"join_s_{kind}"] = round(max(spoke.wait_for("joined", 60)["seconds"] for spoke in spokes), 2)
                after = hub.tell("usage")
                report[f"hub_mib_{kind}"] = round((after["rss_bytes"] - before["rss_bytes"]) / 1024**2, 1)
    return report


if __name__ == "__main__":
    main()
