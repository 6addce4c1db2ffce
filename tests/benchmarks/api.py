"""What the API bears: `python -m tests.benchmarks.api [--seconds N] [--submissions N] [--streams N] [--json]`.

On one cluster without workers, from this process: status reads beside a bare FastAPI route on the same Serve, in turns;
a burst of submissions, counted afterwards; event streams that are all open at once; the API's memory.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.config.schema import HttpSettings, NodeTypeSettings, Settings
from cluster.config.state_directory import StateDir
from cluster.head.start import ray_environment, ray_patches
from cluster.local import embedded
from cluster.local.processes import MARKER, processes
from pipelines.media.sample_video import sample_video

GOALS = {"read_ratio": 0.5, "submit_p99_s": 1.0}
_CONNECTIONS = 16
_ROUNDS = 3
_BARE = """
import os, ray
from fastapi import FastAPI
from ray import serve
app = FastAPI()
on_head = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
@serve.deployment(max_ongoing_requests=1000, ray_actor_options=on_head)
@serve.ingress(app)
class Bare:
    @app.get("/{name}")
    async def read(self, name: str) -> dict[str, str]:
        return {"name": name, "state": "here"}
ray.init(address=os.environ["RAY_ADDRESS"], namespace="serve", log_to_driver=False)
serve.run(Bare.bind(), name="bare", route_prefix="/bare", blocking=False)
"""


class Connection:
    """One HTTP/1.1 connection that is kept: as little work as possible on the asking side."""

    def __init__(self, url: str, token: str) -> None:
        self._host, self._port, self._token = urlsplit(url).hostname, urlsplit(url).port, token
        self._reader: Any = None

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Send, and wait for the whole answer: status and body."""
        status, fields = await self.begin(method, path, body, **headers)
        return status, await self._reader.readexactly(int(fields.get(b"content-length", b"0")))

    async def begin(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[bytes, bytes]]:
        """Send, and wait for the answer's head."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        lines = {"Host": "x", "Authorization": f"Bearer {self._token}", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        first, *rest = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in rest if line)
        return int(first.split()[1]), fields

    async def until(self, text: bytes) -> None:
        """Read a stream on until it has said this."""
        await self._reader.readuntil(text)

    def close(self) -> None:
        if self._reader is not None:
            self._writer.close()


async def throughput(connect: Callable[[], Connection], path: str, seconds: float) -> float:
    """Answers a second over all connections."""
    deadline, answered = time.perf_counter() + seconds, 0

    async def work() -> None:
        nonlocal answered
        connection = connect()
        while time.perf_counter() < deadline:
            status, _ = await connection.ask("GET", path)
            assert status == 200
            answered += 1
        connection.close()

    await asyncio.gather(*(work() for _ in range(_CONNECTIONS)))
    return answered / seconds


async def burst(connect: Callable[[], Connection], number: int) -> dict[str, float]:
    """Submissions without a pause, and whether each is there once."""
    waits, ids, keys = [], set(), iter(range(number))
    body = json.dumps({"media": str(sample_video()), "analyzers": ["labels"], "labels": {"run": "burst"}}).encode()

    async def work() -> None:
        connection = connect()
        for key in keys:
            started = time.perf_counter()
            status, answer = await connection.ask(
                "POST", "/v1/analyses", body, Content_Type="application/json", Idempotency_Key=f"burst-{key}"
            )
            waits.append(time.perf_counter() - started)
            assert status == 202, answer
            ids.add(json.loads(answer)["id"])
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_CONNECTIONS)))
    took_s = time.perf_counter() - started
    stored = await _listed(connect())
    waits.sort()
    return {
        "submissions": number,
        "submit_per_s": number / took_s,
        "submit_p50_s": waits[number // 2],
        "submit_p99_s": waits[int(number * 0.99)],
        "submit_lost": len(ids - set(stored)),
        "submit_doubled": len(stored) - len(ids),
    }


async def _listed(connection: Connection) -> list[str]:
    found, cursor = [], ""
    while True:
        path = "/v1/analyses?limit=100&label=run:burst" + (f"&cursor={cursor}" if cursor else "")
        page = json.loads((await connection.ask("GET", path))[1])
        found += [view["id"] for view in page["analyses"]]
        if (cursor := page["next_cursor"]) is None:
            connection.close()
            return found


async def streams(connect: Callable[[], Connection], analysis_id: str, number: int) -> dict[str, float]:
    """Streams of one analysis, all open at once; how soon all of them hear of its end."""
    opened = [connect() for _ in range(number)]

    async def listen(connection: Connection) -> None:
        status, _ = await connection.begin("GET", f"/v1/analyses/{analysis_id}/events")
        assert status == 200
        await connection.until(b"event: queued")

    started = time.perf_counter()
    await asyncio.gather(*(listen(connection) for connection in opened))
    all_open_s = time.perf_counter() - started
    ending = connect()
    started = time.perf_counter()
    await ending.ask("DELETE", f"/v1/analyses/{analysis_id}")
    await asyncio.gather(*(connection.until(b"event: cancelled") for connection in opened))
    heard_s = time.perf_counter() - started
    for connection in (*opened, ending):
        connection.close()
    return {"streams": number, "streams_open_s": all_open_s, "streams_end_heard_s": heard_s}


def api_mib(cluster_id: str) -> float:
    """The resident memory of the API's replica."""
    for process in processes(cluster_id):
        if "ServeReplica:aima:Api" in " ".join(process.cmdline()):
            return float(process.memory_info().rss / 2**20)
    return float("nan")


async def measure(options: argparse.Namespace, url: str, token: str, mib: Callable[[], float]) -> dict[str, float]:
    """All figures."""

    def connect() -> Connection:
        return Connection(url, token)

    first = connect()
    body = json.dumps({"media": str(sample_video()), "analyzers": ["labels"]}).encode()
    status, answer = await first.ask("POST", "/v1/analyses", body, Content_Type="application/json")
    assert status == 202, answer
    analysis_id = json.loads(answer)["id"]
    ask: Callable[[str], Awaitable[float]] = lambda path: throughput(connect, path, options.seconds)  # noqa: E731
    rounds = [(await ask("/bare/x"), await ask(f"/v1/analyses/{analysis_id}")) for _ in range(_ROUNDS)]
    bare, read = (statistics.median(column) for column in zip(*rounds, strict=True))
    figures = {"bare_per_s": bare, "read_per_s": read, "read_ratio": read / bare, "api_mib_before": mib()}
    figures |= await streams(connect, analysis_id, options.streams)
    figures |= {"api_mib_after_streams": mib()}
    figures |= await burst(connect, options.submissions)
    first.close()
    return figures | {"api_mib_after_burst": mib()}


def main() -> None:
    """Measure on one cluster, print against the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--submissions", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        idle = {name: NodeTypeSettings(gpus=gpus, max_count=0) for name, gpus in (("gpu", 1.0), ("cpu", 0.0))}
        settings = Settings(state_dir=Path(directory), http=HttpSettings(port=0), node_types=idle).resolved()
        state = StateDir(settings.state_dir)
        card = embedded.up(settings)
        try:
            gcs = state.gcs_dir(card.cluster_id)
            own = ray_environment(state, card, gcs, settings, ray_patches(settings))
            environment = os.environ | own | {MARKER: card.cluster_id}
            subprocess.run([sys.executable, "-c", _BARE], env=environment, check=True)
            figures = asyncio.run(measure(options, card.api_url, state.token("api"), lambda: api_mib(card.cluster_id)))
        finally:
            embedded.down(state)
    for name, figure in figures.items():
        print(f"{name:24} {figure:10.3f}  {f'goal {GOALS[name]:g}' if name in GOALS else ''}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
