"""A head and its workers in namespaces, without Ray: what tests and the benchmark ask of the overlay itself."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.overlay.addresses import NodeAddress
from tests.support.overlay.namespaces import HEAD_ADDRESS, Network
from tests.support.overlay.peer import HEAD, service_port
from tests.waiting import wait_until

PEER = (sys.executable, "-m", "tests.support.overlay.peer")
ROOT = Path(__file__).parents[3]


class Program:
    """A running program that prints JSON lines."""

    def __init__(self, command: list[str]) -> None:
        self.said: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_environment()
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said.append(json.loads(line))

    def wait_for(self, key: str, timeout_s: float = 60.0, after: int = 0) -> dict[str, Any]:
        """The first thing it has said with this key, of those after the first `after`."""
        return wait_until(
            f"{key} is said", lambda: next((s for s in self.said[after:] if key in s), None) or {}, timeout_s
        )

    def tell(self, line: str) -> dict[str, Any]:
        """What it answers."""
        assert self._process.stdin
        before = len(self.said)
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.wait_for("rss_bytes", after=before)

    def give(self, text: str) -> None:
        """All that it is ever told."""
        assert self._process.stdin
        self._process.stdin.write(text)
        self._process.stdin.close()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@dataclass
class Hosts:
    """`where` runs commands on hosts; the hub and every spoke are programs."""

    where: Network
    directory: Path
    names: list[str]
    silence_s: float = 90.0
    started: list[Program] = field(default_factory=list)

    def start_hub(self) -> Program:
        """The head, ready."""
        port = str(self.where.hub_port)
        program = self._start("head", "hub", port, str(self.directory), str(self.silence_s), *self.names)
        program.wait_for("ready")
        return program

    def start_spoke(self, host: str, name: str, grace_s: float = 60.0, hub: str = "") -> Program:
        """A worker that is about to join. `hub`: where it dials, unless it dials the head."""
        where = hub or f"{HEAD_ADDRESS}:{self.where.hub_port}"
        return self._start(host, "spoke", str(self.directory), name, where, str(grace_s))

    def join(self, host: str, name: str, grace_s: float = 60.0) -> tuple[Program, NodeAddress]:
        """A worker that has joined, and its address."""
        program = self.start_spoke(host, name, grace_s)
        grant = program.wait_for("joined")["joined"]
        return program, NodeAddress(grant["host"], grant["base_port"])

    def ask(self, host: str, address: NodeAddress, request: str) -> dict[str, Any]:
        """A request from `host` to the node's service."""
        return self.ask_port(host, address.host, service_port(address), request)

    def ask_port(self, host: str, target: str, port: int, request: str) -> dict[str, Any]:
        """A request from `host` to anywhere."""
        command = self.where.command(host, [*PEER, "ask", target, str(port), request])
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=_environment(), check=True)
        return dict(json.loads(done.stdout))

    def serve(self, host: str, port: int) -> None:
        """The small service as a process of its own on `host`, at every address."""
        self._start(host, "serve", str(port))
        wait_until("it serves", lambda: self.ask_port(host, "127.0.0.1", port, "echo on").get("text") == "on")

    def wait_until_reached(self, host: str, address: NodeAddress = HEAD, timeout_s: float = 60.0) -> None:
        """Wait until the node's service answers to `host`."""
        wait_until(
            f"{address.host} answers to {host}",
            lambda: self.ask(host, address, "echo on").get("text") == "on",
            timeout_s,
        )

    @contextlib.contextmanager
    def crowd(self, host: str, per_second: float, seconds: float, kind: str = "bare") -> Iterator[None]:
        """Strangers on `host` who dial the hub at this rate, until the block ends or `seconds` have passed."""
        with self._beside(host, "flood", HEAD_ADDRESS, self.where.hub_port, per_second, seconds, kind) as strangers:
            yield
            assert strangers.poll() is None, "the crowd left before the test was over"

    @contextlib.contextmanager
    def distance(self, host: str, port: int, round_trip_ms: float) -> Iterator[str]:
        """Where `host` reaches the hub as if it were so far away, until the block ends."""
        with self._beside(host, "distance", port, HEAD_ADDRESS, self.where.hub_port, round_trip_ms):
            wait_until("the relay listens", lambda: f":{port} " in self.where.run(host, "ss", "-ltn"))
            yield f"127.0.0.1:{port}"

    @contextlib.contextmanager
    def _beside(self, host: str, program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", f"tests.support.overlay.{program}", *map(str, arguments)]
        with subprocess.Popen(
            self.where.command(host, command), stdout=subprocess.DEVNULL, cwd=ROOT, env=_environment()
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _start(self, host: str, *arguments: str) -> Program:
        program = Program(self.where.command(host, [*PEER, *arguments]))
        self.started.append(program)
        return program

    def stop(self) -> None:
        """End every program, the workers before their hub: they would say that it is gone."""
        for program in reversed(self.started):
            program.kill()


@contextlib.contextmanager
def hosts(where: Network, directory: Path, names: list[str], silence_s: float = 90.0) -> Iterator[Hosts]:
    """The hosts, until their programs are ended."""
    made = Hosts(where, directory, names, silence_s)
    try:
        yield made
    finally:
        made.stop()


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(ROOT)}
