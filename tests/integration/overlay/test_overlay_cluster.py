"""A real cluster whose worker lives in a network of its own: everything of Ray's runs through the overlay."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.config.schema import OverlaySettings, ScalingSettings, Settings
from cluster.local.processes import environment, processes
from cluster.orchestrator.overlay_server import isolation
from pipelines.batch.outcomes import media_key
from pipelines.records.results import verify
from tests.integration.conftest import Running, running, settings_in
from tests.integration.test_batch import tables
from tests.integration.test_first_light import expected_indices, running_pids
from tests.support.overlay.links import Link, between
from tests.support.overlay.overlaid import (
    CONNECTED,
    begin,
    counter,
    deaths,
    drain,
    finish,
    network_of,
    pid_of_worker,
    ray_client,
    raylet_of_worker,
    restart_head,
    segments,
    worker_of,
)
from tests.support.product.jobs import finished, ray_token, video_job
from tests.support.samples import media
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not isolation(), reason="neither root nor user namespaces: no network of its own")
REPLICA = "ServeReplica:aima:SegmentModel"
# What the environment of `aima up` may hold, and what no process that runs others' code may inherit of it.
SECRETS = {"RUNPOD_API_KEY", "VAST_API_KEY", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL"}
LOOT = "what-a-thief-would-like"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Workers wait long enough for a head to die and come back."""
    overlay = OverlaySettings(enabled=True, isolate_local=True, grace_s=300)
    scaling = ScalingSettings(idle_limit_s=20, segment_s=5)
    changes = {"overlay": overlay, "scaling": scaling}
    return settings_in(tmp_path_factory.mktemp("overlaid")).model_copy(update=changes)


@pytest.fixture(scope="module")
def overlaid(settings: Settings) -> Iterator[Running]:
    """The cluster, started by somebody with secrets. Tests share its worker, too, where they find one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SECRETS:
            patch.setenv(name, LOOT)
        with running(settings) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def link(overlaid: Running) -> Iterator[Link]:
    """The way from its workers to its hub, until the hub is started anew."""
    with between(overlaid.state.hub_socket(overlaid.card.cluster_id)) as link:
        yield link


def test_a_link_cut_for_45_s_under_an_analysis_and_an_actor_loses_nothing(
    overlaid: Running, link: Link, minute: list[Path]
) -> None:
    with counter(overlaid) as ask, ThreadPoolExecutor(1) as pool:
        analysis_id = begin(overlaid, minute)
        worker, raylet = pid_of_worker(overlaid), raylet_of_worker(overlaid)
        assert network_of(raylet.pid) != network_of(os.getpid())
        replicas = running_pids(overlaid, REPLICA)
        first, pid = ask("count").split()
        link.cut(worker)
        cut_at, waiting = time.monotonic(), pool.submit(ask, "count")
        done = overlaid.client.analysis(analysis_id)["progress"]["segments_done"]
        try:
            assert done < 12
            wait_until("45 s have passed", lambda: time.monotonic() - cut_at >= 45)
            assert not waiting.done()
            assert overlaid.client.analysis(analysis_id)["progress"]["segments_done"] <= done + 2
        finally:
            link.mend(worker)
        assert waiting.result(60).split() == [str(int(first) + 1), pid]
    finish(overlaid, analysis_id, minute)
    assert {s.attempts for s in segments(overlaid, analysis_id)} == {0}, "a segment was lost and run again"
    assert running_pids(overlaid, REPLICA) == replicas
    assert pid_of_worker(overlaid) == worker


def test_a_machine_that_vanishes_is_replaced_before_ray_has_missed_ten_health_checks(
    overlaid: Running, minute: list[Path]
) -> None:
    """Its link is silent, as one that is only cut; only the orchestrator knows."""
    analysis_id, name = begin(overlaid, minute), worker_of(overlaid)["name"]
    for process in processes(overlaid.card.cluster_id):
        if environment(process).get("AIMA_INSTANCE") == name:
            process.kill()
    finish(overlaid, analysis_id, minute)
    assert f"the machine of {name} is gone" in deaths(overlaid)


def test_a_drained_node_takes_no_new_work_and_another_goes_on(overlaid: Running, minute: list[Path]) -> None:
    analysis_id, name = begin(overlaid, minute), worker_of(overlaid)["name"]
    drain(overlaid, name)
    finish(overlaid, analysis_id, minute)
    instances = [segment.instance for segment in segments(overlaid, analysis_id)]
    assert instances[0] == name
    assert instances[-1] != name
    overlaid.wait_for_zero()


def test_a_killed_head_comes_back_and_the_same_worker_replica_and_actor_carry_on(
    overlaid: Running, link: Link, settings: Settings, minute: list[Path]
) -> None:
    """`kill -9` of everything on the head in mid-analysis, then `aima up` again."""
    client = overlaid.client
    with counter(overlaid) as ask:
        analysis_id = begin(overlaid, minute)
        first, pid = ask("count").split()
    name, raylet, replicas = worker_of(overlaid)["name"], raylet_of_worker(overlaid), running_pids(overlaid, REPLICA)
    launches = len(overlaid.instances())
    done = {part: Path(part).stat().st_mtime_ns for part in client.results(analysis_id)["parts"]}
    assert client.analysis(analysis_id)["state"] == "running"
    restart_head(overlaid, settings)
    finish(overlaid, analysis_id, minute)
    assert {part: Path(part).stat().st_mtime_ns for part in done} == done, "what was stored was computed again"
    assert worker_of(overlaid)["name"] == name
    assert len(overlaid.instances()) == launches
    assert raylet.is_running()
    assert running_pids(overlaid, REPLICA) == replicas
    phases = worker_of(overlaid)["phases"]
    assert sorted(phases, key=lambda phase: phases[phase]) == ["image up", "joined", "Ray up", "model loaded"]
    with counter(overlaid) as ask:
        assert ask("count").split() == [str(int(first) + 1), pid]
        ask("end")
    overlaid.wait_for_zero()


def test_a_head_whose_serve_does_not_come_back_starts_anew_and_the_analysis_goes_on(
    overlaid: Running, settings: Settings, minute: list[Path]
) -> None:
    """Ray remembers nothing of Serve, which should be there: the head waits for it in vain, and deploys it again."""
    analysis_id, gcs = begin(overlaid, minute), overlaid.state.gcs_dir(overlaid.card.cluster_id)
    done = {part: Path(part).stat().st_mtime_ns for part in overlaid.client.results(analysis_id)["parts"]}

    def lose_serve() -> None:
        (marker,) = [path for path in gcs.iterdir() if path.name == "deployed"]
        for path in {*gcs.iterdir()} - {marker}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    restart_head(overlaid, settings, lose_serve)
    assert "has not come back" in (overlaid.state.logs / "head.log").read_text()
    finish(overlaid, analysis_id, minute)
    assert {part: Path(part).stat().st_mtime_ns for part in done} == done, "what was stored was computed again"
    overlaid.wait_for_zero()


_HOSTILE = (
    CONNECTED
    + """
import json, os, socket
import numpy as np

wishes = json.loads(sys.argv[2])


@ray.remote(num_gpus=1, num_cpus=0)
class Worker:
    def make(self, mb):
        return np.ones(mb * 1_000_000, np.uint8)

    def size(self, array):
        return int(array.sum())

    def network(self):
        return os.readlink("/proc/self/ns/net")

    def environment(self):
        return dict(os.environ)

    def reach(self, host, port):
        try:
            with socket.create_connection((host, port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                return bool(connection.recv(1))
        except OSError:
            return False


@ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})
def on_the_head(paths):
    readable = [path for path in paths if os.access(path, os.R_OK)]
    return dict(os.environ), readable, [pid for pid in os.listdir("/proc") if pid.isdigit() and holds_loot(pid)]


def holds_loot(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            return wishes["loot"].encode() in environment.read()
    except OSError:
        return False


a, b = Worker.remote(), Worker.remote()
found = {"networks": ray.get([a.network.remote(), b.network.remote()])}
found["head_to_worker"] = ray.get(a.size.remote(ray.put(np.ones(100_000_000, np.uint8))))
found["worker_to_head"] = int(ray.get(a.make.remote(100)).sum())
found["worker_to_worker"] = ray.get([b.size.remote(a.make.remote(100)), a.size.remote(b.make.remote(100))])
found["reached"] = {what: ray.get(a.reach.remote(*where)) for what, where in wishes["reach"].items()}
found["environment"] = ray.get(a.environment.remote())
found["head_environment"], found["head_files"], found["looted"] = ray.get(on_the_head.remote(wishes["files"]))
print(json.dumps(found))
"""
)


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
        "files": [str(state.path / "overlay" / "host_key"), str(state.path / "ledger.db")],
        "loot": LOOT,
    }
    overlaid.wait_for_zero()
    before = len(overlaid.instances())
    command = [sys.executable, "-c", _HOSTILE, ray_client(overlaid), json.dumps(wishes)]
    environment = os.environ | ray_token(overlaid)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=280, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len({*found["networks"], network_of(os.getpid())}) == 3
    assert (found["head_to_worker"], found["worker_to_head"]) == (100_000_000, 100_000_000)
    assert found["worker_to_worker"] == [100_000_000] * 2
    assert not any(found["reached"].values()), found["reached"]
    for environment in (found["environment"], found["head_environment"]):
        assert LOOT not in environment.values()
        assert not SECRETS & environment.keys()
    told = {"AIMA_CLUSTER", "AIMA_HUB", "AIMA_HUB_KEY", "AIMA_INSTANCE", "AIMA_JOIN_TIMEOUT_S", "AIMA_MAX_AGE_S"}
    own = {name for name in found["environment"] if name.startswith("AIMA_")}
    patches = {"AIMA_APPLIED_PATCHES", "AIMA_AROUND_DATASETS", "AIMA_PRESTARTED_WORKERS"}  # which of Ray's parts differ
    assert own <= told | patches | {"AIMA_PHASES"}  # the hub's key is its public fingerprint
    # On one machine everything is one user's, so a task on the head reads the orchestrator's files and environment:
    # trusted use, as SECURITY.md says. In Kubernetes it is another user's, in another container (test_manifests.py).
    assert found["head_files"] == wishes["files"]
    (orchestrator,) = running_pids(overlaid, "cluster.orchestrator.process")
    assert str(orchestrator) in found["looted"]
    assert len(overlaid.instances()) - before == 2, "workers that started at once were in one another's way"
    overlaid.wait_for_zero()


def test_a_batch_job_moves_from_the_head_to_a_worker_and_its_results_are_whole(
    overlaid: Running, tmp_path: Path
) -> None:
    """Ray starts its driver on the head, where no work is done; from there on everything is in the worker's network."""
    clips = {str(media.build(name, tmp_path).path) for name in ("h264-mp4", "h264-mkv", "vp9-webm")}
    output, before = tmp_path / "out", len(overlaid.instances())
    arguments = ["--input", *sorted(clips), "--output", str(output), "--analyzers", "labels"]
    with video_job(overlaid, [], *arguments) as job:

        def at_work() -> list[list[int]]:
            assert job.poll() is None, finished(job)
            found = [running_pids(overlaid, words) for words in ("ray::run", "BatchActor")]
            return found if all(found) else []

        pids = wait_until("driver and actor are at work", at_work, 200)
        (network,) = {network_of(pid) for found in pids for pid in found}
        assert network == network_of(pid_of_worker(overlaid))
        assert network != network_of(os.getpid())
        assert '"status": "succeeded"' in finished(job)
    wait_until("what is written last is there", (output / "manifest.json").exists)
    found = {name.split("/")[1]: [row["frame_index"] for row in table] for name, table in tables(output)}
    assert found == {media_key(clip): expected_indices(Path(clip)) for clip in clips}
    bundles = [path.parent for path in (output / "media").glob("*/manifest.json")]
    assert [verify(str(bundle)) for bundle in bundles] == [[]] * 3
    assert len(overlaid.instances()) - before == 1
    overlaid.wait_for_zero()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_this_machine_reaches_neither_keys_nor_the_hub(overlaid: Running) -> None:
    """As in Kubernetes, where the head's container has another user than the orchestrator's."""
    (orchestrator,) = running_pids(overlaid, "cluster.orchestrator.process")
    hub = overlaid.state.hub_socket(overlaid.card.cluster_id)
    assert LOOT.encode() in Path(f"/proc/{orchestrator}/environ").read_bytes()
    assert hub.is_socket()
    assert hub.stat().st_mode & 0o077 == 0, "whoever may not write to a socket may not connect to it"
    attempts = {
        "the environment": ["cat", f"/proc/{orchestrator}/environ"],
        "its open files": ["ls", f"/proc/{orchestrator}/fd/"],
    }
    for what, command in attempts.items():
        own = subprocess.run(command, capture_output=True, check=False)
        assert own.returncode == 0, (what, own.stderr)
        done = subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, check=False)
        assert b"Permission" in done.stderr, what
        assert LOOT.encode() not in done.stdout
    kept = [overlaid.state.path / name for name in ("settings.yaml", "ledger.db", "overlay/host_key", "tokens/nodes")]
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
