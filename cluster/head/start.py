"""Ray's head: configured for our node provider, started, and given the service to run. It runs no work itself."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.config.loader import load_settings
from cluster.config.node_resources import ray_resources, segments_per_worker
from cluster.config.schema import LOOPBACK, Settings
from cluster.config.state_directory import ClusterCard, StateDir, write_private
from cluster.head import supervisor
from cluster.ray_patches.decision import Decision, decide, warnings
from cluster.ray_patches.patch import Node
from cluster.service.settings import CPUS_PER_WORKER, ServiceSettings
from cluster.steady_clock import KEPT

HEAD_NODE_TYPE = "head"
_DEPLOYED = "deployed"
_COMES_BACK_S = 90.0
_LOST = f"the API has not come back within {_COMES_BACK_S:.0f} s"
_GCS_PATH = "RAY_gcs_storage_path"
_OBJECT_STORE_BYTES = 80 * 1024**2
# Serve lets go after its own delay; Ray then only confirms that nothing else holds the node.
_RAY_IDLE_S = 1.0


def autoscaling_config(settings: Settings, state: StateDir, card: ClusterCard, patches: Decision) -> dict[str, Any]:
    """Ray's cluster YAML. The empty legacy keys are needed: without them Ray's monitor dies with a KeyError."""
    workers = {
        name: {
            "resources": ray_resources(shape),
            "min_workers": 0,
            "max_workers": shape.max_count,
            "node_config": {},
        }
        for name, shape in settings.node_types.items()
    }
    head = {"resources": {"CPU": 0}, "min_workers": 0, "max_workers": 0, "node_config": {}}
    lists = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": card.cluster_id,
        "provider": {
            "type": "external",
            "module": "autoscaler.ray_node_provider.RayNodeProvider",
            "disable_node_updaters": True,
            "orchestrator_url": card.orchestrator_url,
            "token_file": str(state.token_path("nodes")),
            "gcs_address": card.address.gcs_address,
            "head_instance_id": head_instance_id(card),
            "head_node_type": HEAD_NODE_TYPE,
            "ray_patches": patches.names(),
        },
        "max_workers": sum(shape.max_count for shape in settings.node_types.values()),
        "idle_timeout_minutes": _RAY_IDLE_S / 60,
        "upscaling_speed": 100,
        "head_node_type": HEAD_NODE_TYPE,
        "available_node_types": {HEAD_NODE_TYPE: head, **workers},
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        **{f"{name}_commands": [] for name in lists},
    }


def head_instance_id(card: ClusterCard) -> str:
    """The head's own name among the instances that Ray sees."""
    return f"{card.cluster_id}-head"


def ray_patches(settings: Settings) -> Decision:
    """Which patches of Ray apply on this head."""
    return decide(settings.ray.patches, settings.ray.without_patches, Node.HEAD)


def ray_environment(
    state: StateDir, card: ClusterCard, gcs: Path, settings: Settings, patches: Decision
) -> dict[str, str]:
    """What Ray's head processes and drivers on this machine need to know."""
    return {
        **patches.environment(
            gcs_path=gcs,
            grace_s=settings.overlay.grace_s,
            join_window_s=settings.scaling.join_window_s,
            instance_id=head_instance_id(card),
            node_type=HEAD_NODE_TYPE,
        ),
        # Ray's processes have dozens of threads; glibc would keep an arena of its own for each that ever allocates.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_TRIM_THRESHOLD_": "131072",
        KEPT: str(state.clock_path),
        # Ray starts its monitor as a script from a folder that holds an autoscaler.py; ours must be found instead.
        "PYTHONSAFEPATH": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_path("ray")),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": card.address.gcs_address,
    }


def ray_start_command(state: StateDir, card: ClusterCard, config_path: Path, patches: Decision) -> list[str]:
    """`ray start --head` with every port pinned and no room for work. It ends as soon as everything is started."""
    address = card.address
    return [
        *patches.ray_command(),
        "start",
        "--head",
        "--disable-usage-stats",
        # Nobody reads along what Serve's processes on the head write; their files stay.
        "--include-log-monitor=false",
        "--num-cpus=0",
        "--num-gpus=0",
        f"--port={address.gcs_port}",
        f"--dashboard-host={address.host}",
        f"--dashboard-port={address.dashboard_port}",
        f"--ray-client-server-port={address.client_port}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        f"--temp-dir={state.ray_dir(card.cluster_id)}",
        f"--autoscaling-config={config_path}",
        *address.ray_start_flags(),
    ]


def service_settings(settings: Settings, state: StateDir, card: ClusterCard) -> ServiceSettings:
    """What the service is told: its own database and tokens, nothing of the orchestrator's."""
    return ServiceSettings(
        cluster_id=card.cluster_id,
        ray_dir=str(state.ray_dir(card.cluster_id)),
        database_url=settings.database_url,
        storage_uri=settings.storage_uri,
        queue_url=settings.queue_url,
        documents_url=settings.documents_url,
        orchestrator_url=card.orchestrator_url,
        clock_path=str(state.clock_path),
        fleet_token_file=str(state.token_path("fleet")),
        api_token_file=str(state.token_path("api")),
        http_host=settings.http.host,
        http_port=int(card.api_url.rsplit(":", 1)[1]),
        max_submission_bytes=settings.http.max_submission_mib << 20,
        max_image_bytes=settings.http.max_image_mib << 20,
        body_silence_s=settings.http.body_silence_s,
        media_roots=settings.media.roots or (),
        owner_media_roots=settings.owner_media_roots(),
        allow_private_hosts=settings.media.allow_private_hosts,
        media_storage=settings.media.storage,
        model_places=settings.models.places,
        hardware_decoding=settings.models.hardware_decoding,
        keep_days=settings.retention.keep_days,
        # The documentation is a page for browsers, which have no key; it is open on this machine only.
        public_docs=settings.http.host in LOOPBACK,
        max_workers={"gpu": _gpu_workers(settings), "cpu": _cpu_workers(settings)},
        segments_per_worker=segments_per_worker(settings),
        idle_limit_s=settings.scaling.idle_limit_s,
        segment_s=settings.scaling.segment_s,
        media_s_per_worker=settings.scaling.media_s_per_worker,
        max_media_s=settings.analyses.max_media_s,
        max_segments=settings.analyses.max_segments,
        max_workers_of_one=settings.analyses.max_workers,
        max_frame_pixels=settings.analyses.max_frame_pixels,
        probe_memory_bytes=settings.analyses.probe_memory_mib << 20,
        log_format=settings.log.format,
        log_level=settings.log.level,
        log_path=str(state.logs / "api.log"),
        traces_endpoint=settings.tracing.endpoint,
        traces_sample=settings.tracing.sample,
        ray_warnings=tuple(warnings(settings.ray.patches, settings.ray.without_patches)),
    )


def _gpu_workers(settings: Settings) -> int:
    return sum(shape.max_count for shape in settings.node_types.values() if shape.gpus)


def _cpu_workers(settings: Settings) -> int:
    shapes = [shape for shape in settings.node_types.values() if not shape.gpus]
    return sum(shape.max_count * int(shape.cpus // CPUS_PER_WORKER) for shape in shapes)


def main() -> int:
    """Start the head, deploy the service, then become the process that stays until Ray ends."""
    settings = load_settings()
    state = StateDir(settings.state_dir)
    card = state.read_card()
    if card is None:
        sys.exit(f"{state.card_path} is missing: start the cluster with `aima up`")
    patches = ray_patches(settings)
    config_path = state.path / "ray-autoscaling.yaml"
    config_path.write_text(yaml.safe_dump(autoscaling_config(settings, state, card, patches)), encoding="utf-8")
    # In Kubernetes Ray's own variable names the volume.
    gcs = Path(os.environ.get(_GCS_PATH) or state.gcs_dir(card.cluster_id))
    environment = os.environ | ray_environment(state, card, gcs, settings, patches)
    gcs.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chdir("/")
    supervisor.adopt_orphans()
    signal.signal(signal.SIGTERM, _end_early)
    command = ray_start_command(state, card, config_path, patches)
    service = service_settings(settings, state, card).to_json()
    was_there, failed = _start(command, service, gcs, environment)
    if was_there and not failed and not _comes_back(card):
        print(f"{_LOST}: starting again without what Ray remembers, workers join anew", file=sys.stderr, flush=True)
        supervisor.end_children()
        _empty(gcs)
        state.forget_head(card.cluster_id)
        _, failed = _start(command, service, gcs, environment)
    if failed:
        supervisor.end_children()
        return failed
    return supervisor.become()


def _start(command: Sequence[str], service: str, gcs: Path, environment: Mapping[str, str]) -> tuple[bool, int]:
    """Start Ray and, if it does not know this service, deploy it; whether it knew it, and the exit code of what failed.

    Side by side: the driver's imports take as long as Ray's start. Nothing is deployed on a restarted head with the
    same service: Serve brings it back by itself, and another deployment would replace the replicas that have lived on.
    """
    code = Path(__file__).parents[1] / "service" / "deployments.py"
    digest = hashlib.sha256(service.encode() + code.read_bytes()).hexdigest()
    deployed, failed = gcs / _DEPLOYED, 0
    was_there = deployed.exists() and deployed.read_text(encoding="utf-8") == digest
    ray = subprocess.Popen(command, env=environment)  # noqa: S603
    if not was_there:
        deploy = [sys.executable, "-m", "cluster.service.deployments"]
        failed = subprocess.run(deploy, input=service.encode(), env=environment, check=False).returncode  # noqa: S603
        if not failed:
            write_private(deployed, digest)
    return was_there, ray.wait() or failed


def _comes_back(card: ClusterCard) -> bool:
    """Whether Serve brings the API back, so that it answers again; a part of Ray that ends meanwhile is the keeper's.

    It never does if Ray was ended between writing down that the head's node was lost and that its actors are to be
    started elsewhere: they are alive then, as Ray remembers it, on a node that is dead.
    """
    from cluster.head.api_health import is_ready  # noqa: PLC0415 - a head that starts needs no HTTP

    deadline = time.monotonic() + _COMES_BACK_S
    while not is_ready(card) and not supervisor.one_has_failed():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _empty(gcs: Path) -> None:
    """Empty the directory, which may be a volume's."""
    for path in gcs.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _end_early(_signal: int, _frame: object) -> None:
    """Told to end while still starting."""
    supervisor.end_children()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
