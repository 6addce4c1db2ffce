"""A real cluster whose worker lives in a network of its own: everything of Ray's runs through the overlay."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import embedded
from cluster.gateway import isolation
from cluster.processes import head_processes, processes
from cluster.settings import OverlaySettings, ScalingSettings, Settings
from tests.integration.conftest import Running, running, settings_in
from tests.integration.test_first_light import expected_indices, frame_indices
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not isolation(), reason="neither root nor user namespaces: no network of its own")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Workers wait long enough for a head to die and come back."""
    overlay = OverlaySettings(enabled=True, isolate_local=True, grace_s=300)
    scaling = ScalingSettings(idle_limit_s=20, segment_s=5)
    changes = {"overlay": overlay, "scaling": scaling}
    return settings_in(tmp_path_factory.mktemp("overlaid")).model_copy(update=changes)


@pytest.fixture(scope="module")
def overlaid(settings: Settings) -> Iterator[Running]:
    """The cluster."""
    with running(settings) as cluster:
        yield cluster


def worker_of(cluster: Running) -> dict[str, Any]:
    (instance,) = [i for i in cluster.instances() if i["state"] == "bought"]
    return instance


def raylet_of_worker(cluster: Running) -> psutil.Process:
    (found,) = [
        p for p in processes(cluster.card.cluster_id) if p.name() == "raylet" and "AIMA_INSTANCE" in p.environ()
    ]
    return found


def test_a_killed_head_comes_back_and_the_same_worker_finishes(
    overlaid: Running, settings: Settings, long_clip: Path
) -> None:
    """`kill -9` of everything on the head in mid-analysis, then `aima up` again."""
    client, card = overlaid.client, overlaid.card
    analysis_id = client.submit([str(long_clip)], ["labels"])["id"]
    wait_until("a segment is done", lambda: client.analysis(analysis_id)["progress"]["segments_done"], 240)
    name, raylet = worker_of(overlaid)["name"], raylet_of_worker(overlaid)
    assert os.readlink(f"/proc/{raylet.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    done = {part: Path(part).stat().st_mtime_ns for part in client.results(analysis_id)["parts"]}
    for process in head_processes(card.cluster_id, overlaid.state.ray_dir(card.cluster_id)):
        process.send_signal(signal.SIGKILL)
    assert embedded.up(settings) == card
    view = list(client.follow(analysis_id))[-1]
    assert view["state"] == "succeeded", view["error"]
    assert frame_indices(overlaid, analysis_id) == expected_indices(long_clip)
    assert {part: Path(part).stat().st_mtime_ns for part in done} == done, "what was stored was computed again"
    assert [i["name"] for i in overlaid.instances()] == [name]
    assert raylet.is_running()
    phases = worker_of(overlaid)["phases"]
    assert sorted(phases, key=lambda phase: phases[phase]) == ["image up", "joined", "Ray up", "model loaded"]
    overlaid.wait_for_zero()


_HOSTILE = """
import json, os, socket, sys
import numpy as np
import ray

ray.init(sys.argv[1], log_to_driver=False)
wishes = json.loads(sys.argv[2])


@ray.remote(num_gpus=1, num_cpus=0)
class Worker:
    def make(self, mb):
        return np.ones(mb * 1_000_000, np.uint8)

    def size(self, array):
        return int(array.sum())

    def network(self):
        return os.readlink("/proc/self/ns/net")

    def secrets(self):
        own = {name: os.environ[name] for name in os.environ if name.startswith("AIMA_")}
        others = [name for name in os.environ if name not in own]
        return own, [n for n in others if "KEY" in n or "SECRET" in n or "DATABASE" in n]

    def reach(self, host, port):
        try:
            with socket.create_connection((host, port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                return bool(connection.recv(1))
        except OSError:
            return False


@ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})
def on_the_head(paths):
    return dict(os.environ), [path for path in paths if os.access(path, os.R_OK)]


a, b = Worker.remote(), Worker.remote()
found = {"networks": ray.get([a.network.remote(), b.network.remote()])}
found["head_to_worker"] = ray.get(a.size.remote(ray.put(np.ones(50_000_000, np.uint8))))
found["worker_to_head"] = int(ray.get(a.make.remote(50)).sum())
found["worker_to_worker"] = ray.get([b.size.remote(a.make.remote(100)), a.size.remote(b.make.remote(100))])
found["reached"] = {what: ray.get(a.reach.remote(*where)) for what, where in wishes["reach"].items()}
found["own"], found["secrets"] = ray.get(a.secrets.remote())
found["head_environment"], found["head_files"] = ray.get(on_the_head.remote(wishes["files"]))
print(json.dumps(found))
"""


def test_two_workers_and_the_head_exchange_objects_and_a_hostile_task_reaches_nothing_else(overlaid: Running) -> None:
    """What SECURITY.md says of a worker, and of a task on the head, tried."""
    head, state = overlaid.card.address, overlaid.state
    wishes = {
        "reach": {
            "the orchestrator": (head.host, head.orchestrator_port),
            "the dashboard": (head.host, head.dashboard_port),
            "the API": (head.host, head.http_port),
            "a database": ("127.0.0.1", 5432),
            "a queue": ("127.0.0.1", 5672),
            "the internet": ("198.51.100.1", 443),
        },
        "files": [str(state.path / "overlay" / "host_key")],
    }
    client = f"ray://{head.host}:{head.client_port}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(state.token_path("ray"))}
    command = [sys.executable, "-c", _HOSTILE, client, json.dumps(wishes)]
    done = subprocess.run(command, env=os.environ | token, stdout=subprocess.PIPE, text=True, timeout=280, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len({*found["networks"], os.readlink("/proc/self/ns/net")}) == 3
    assert (found["head_to_worker"], found["worker_to_head"]) == (50_000_000, 50_000_000)
    assert found["worker_to_worker"] == [100_000_000] * 2
    assert not any(found["reached"].values()), found["reached"]
    told = {"AIMA_CLUSTER", "AIMA_HUB", "AIMA_HUB_KEY", "AIMA_INSTANCE", "AIMA_JOIN_TIMEOUT_S", "AIMA_MAX_AGE_S"}
    assert set(found["own"]) <= told | {"AIMA_PHASES"}  # the hub's key is its public fingerprint
    assert found["secrets"] == []
    assert not [name for name in found["head_environment"] if name.endswith(("_API_KEY", "DATABASE_URL"))]
    # On one machine everything is one user's: trusted use, as SECURITY.md says.
    assert found["head_files"] == wishes["files"]
    overlaid.wait_for_zero()
