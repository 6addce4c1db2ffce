"""What tests do with a cluster whose worker lives in a network of its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.config.schema import Settings
from cluster.local import embedded
from cluster.local.processes import environment, head_processes, processes, words
from tests.integration.conftest import Running
from tests.integration.test_first_light import expected_indices, frame_indices, running_pids
from tests.support.product.jobs import ray_token
from tests.waiting import wait_until


def worker_of(cluster: Running) -> dict[str, Any]:
    """The one that there is."""
    (instance,) = [i for i in cluster.instances() if i["state"] == "bought"]
    return instance


def pid_of_worker(cluster: Running) -> int:
    """Its first process: the one that dials the hub."""
    (pid,) = running_pids(cluster, "-m cluster.worker.local_entrypoint")
    return pid


def raylet_of_worker(cluster: Running) -> psutil.Process:
    """Its node's main process."""
    (found,) = [
        p
        for p in processes(cluster.card.cluster_id)
        if "".join(words(p)[:1]).endswith("/raylet") and "AIMA_INSTANCE" in environment(p)
    ]
    return found


def begin(cluster: Running, media: Sequence[Path]) -> str:
    """An analysis of which a segment is done and others are not."""
    analysis_id = str(cluster.client.submit([str(path) for path in media], ["labels", "scenes"])["id"])
    wait_until(
        "some segments are done, some are not",
        lambda: 0 < cluster.client.analysis(analysis_id)["progress"]["segments_done"] < 6 * len(media),
        240,
    )
    return analysis_id


def finish(cluster: Running, analysis_id: str, media: Sequence[Path]) -> None:
    """To its end, with every frame of its media once."""
    view = list(cluster.client.follow(analysis_id))[-1]
    assert view["state"] == "succeeded", view["error"]
    assert frame_indices(cluster, analysis_id) == [i for path in media for i in expected_indices(path)]


def restart_head(cluster: Running, settings: Settings, meanwhile: Callable[[], None] = lambda: None) -> None:
    """`kill -9` of everything on the head, then `aima up` again."""
    card = cluster.card
    for process in head_processes(card.cluster_id, cluster.state.ray_dir(card.cluster_id)):
        process.send_signal(signal.SIGKILL)
    meanwhile()
    assert embedded.up(settings) == card


# The beginning of a program that Ray Client connects: `ray` is ready after it.
CONNECTED = """
import sys, time
import ray

for left in reversed(range(20)):
    try:
        ray.init(sys.argv[1], namespace="tests", log_to_driver=False)
        break
    except ConnectionError:  # a busy head can take longer to start our process than Ray waits for it
        if not left:
            raise
        time.sleep(0.5)
"""

_DEATHS = f"""
import json
{CONNECTED}
print(json.dumps([node["DeathReasonMessage"] for node in ray.nodes() if not node["Alive"]]))
"""


_DRAIN = """
import sys, time
from autoscaler.ray_gcs import RayGcs

address, name = sys.argv[1:]
gcs = RayGcs(address)
(node,) = [node for node in gcs.nodes() if node.instance_id == name]
gcs.drain(node.node_id, "a test wants it", int((time.time() + 60) * 1000))
"""


def drain(cluster: Running, name: str) -> None:
    """Tell Ray, as our node provider does, that a worker takes no new work and has a minute for what it has."""
    command = [sys.executable, "-c", _DRAIN, cluster.card.address.gcs_address, name]
    subprocess.run(command, env=os.environ | ray_token(cluster), check=True)


def deaths(cluster: Running) -> list[str]:
    """Why Ray calls nodes dead."""
    command = [sys.executable, "-c", _DEATHS, ray_client(cluster)]
    done = subprocess.run(command, env=os.environ | ray_token(cluster), stdout=subprocess.PIPE, text=True, check=True)
    return [str(reason) for reason in json.loads(done.stdout.splitlines()[-1])]


_COUNTER = (
    CONNECTED
    + """
import os


@ray.remote(num_cpus=1)
class Counter:
    def __init__(self):
        self.counted = 0

    def count(self):
        self.counted += 1
        return f"{self.counted} {os.getpid()}"


print("connected", flush=True)
for line in sys.stdin:
    counter = Counter.options(name="counter", lifetime="detached", get_if_exists=True).remote()
    print(ray.get(counter.count.remote()) if line == "count\\n" else ray.kill(counter), flush=True)
"""
)


@contextmanager
def counter(cluster: Running) -> Iterator[Callable[[str], str]]:
    """A stateful actor on a worker, by Ray Client: "count" answers what it has counted and its pid, "end" ends it.

    It lives on between two connections, and is started by the first question where it does not.
    """
    command = [sys.executable, "-c", _COUNTER, ray_client(cluster)]
    environment = os.environ | ray_token(cluster)
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(word: str) -> str:
            process.stdin.write(f"{word}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        assert process.stdout.readline() == "connected\n"
        yield ask
        process.stdin.close()


def ray_client(cluster: Running) -> str:
    """Where Ray Client connects."""
    head = cluster.card.address
    return f"ray://{head.host}:{head.client_port}"


@dataclass(frozen=True)
class Segment:
    """What the queue knows of one: how often it has failed, and on which instance it ran last."""

    attempts: int
    instance: str | None


def segments(cluster: Running, analysis_id: str) -> list[Segment]:
    """Those of an analysis, in their order."""
    query = "SELECT attempts, instance FROM segments WHERE analysis_id = ? ORDER BY media_index, segment_index"
    with closing(sqlite3.connect(cluster.state.path / "aima.db")) as database:
        return [Segment(*row) for row in database.execute(query, (analysis_id,))]


def network_of(pid: int) -> str:
    """The name of its network: another one than ours where it was isolated."""
    return os.readlink(f"/proc/{pid}/ns/net")


def in_network_of(pid: int) -> list[psutil.Process]:
    """Everything that lives in its network."""
    own, found = network_of(pid), []
    for process in psutil.process_iter():
        with suppress(OSError):
            if network_of(process.pid) == own:
                found.append(process)
    return found
