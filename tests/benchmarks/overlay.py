"""What the overlay costs: `python -m tests.benchmarks.overlay [--json] [--mb 400] [--spokes 50]`, as root.

Between namespaces on this machine, each worker in its own, in one run: 400 MB from the head to a worker and back over
the overlay, and the same over a plain TCP connection on the same virtual cable; the round trip of a byte; the hub's
memory per spoke and its share of a core with idle spokes. Goals: 300 MB/s, 0.5 ms added, 2 MiB a spoke, 2 % of a core
with 50 of them.
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


def main() -> None:
    """Measure, print against the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mb", type=int, default=400)
    parser.add_argument("--spokes", type=int, default=50)
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
    print(json.dumps(report) if options.json else "\n".join(f"{k:22} {v}" for k, v in report.items()))


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


if __name__ == "__main__":
    main()
