"""The whole product as it is when people rent: two fake clouds, the overlay, a cluster without worker."""

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from autoscaler.records.ledger import Ledger
from cluster.client import Client
from cluster.config.request_settings import MediaSettings
from cluster.config.schema import (
    BudgetSettings,
    HttpSettings,
    NodeTypeSettings,
    OverlaySettings,
    ScalingSettings,
    Settings,
)
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local import embedded, fake_cloud
from cluster.local.demo import live_instances
from cluster.local.fake_cloud import FakeCloud
from cluster.local.processes import environment, head_processes, lives, processes, words
from cluster.overlay.ports import can_bind
from cluster.storage.database import open_engine
from tests.chaos.servers import broker, bucket
from tests.chaos.servers.broker import Broker
from tests.chaos.servers.bucket import Bucket
from tests.chaos.servers.clocks import Clocks
from tests.chaos.servers.link import Link
from tests.chaos.verdict import Blind, Books, Entry, Machine
from tests.support.servers.small_postgres import SmallPostgres, small_postgres

_BOOT_S, _STORAGE_BYTES = 2.0, 64 * 1024**2
_STARTS = 3
_INSTANCE = "AIMA_INSTANCE"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Parts:
    """What the product stands on: an SQLite file or a PostgreSQL, a directory or an S3."""

    postgres: bool = False
    s3: bool = False


@dataclass
class Stage:
    """What faults strike, and what is looked at afterwards. Safe for threads, one of which may restart the head."""

    settings: Settings
    card: ClusterCard
    clouds: Mapping[str, FakeCloud]
    link: Link
    client: Client
    storage_is_its_own: bool
    postgres: SmallPostgres | None
    bucket: Bucket | None
    queue: Broker | None
    clocks: Clocks
    environment: Mapping[str, str]
    say: Say
    violations: list[str]
    failed_starts: list[str] = field(default_factory=list)
    blind: list[Blind] = field(default_factory=list)
    head: threading.Lock = field(default_factory=threading.Lock)

    @property
    def state(self) -> StateDir:
        """The cluster's directory."""
        return StateDir(self.settings.state_dir)

    @property
    def storage(self) -> Path:
        """The directory where results lie, if they lie in one."""
        return Path(self.settings.storage_uri)

    def media_uri(self, clip: Path) -> str:
        """How this clip is asked for: by its path, or from the bucket."""
        return self.bucket.keep(clip) if self.bucket else str(clip)

    def orchestrator(self) -> psutil.Process | None:
        """The process that spends money."""
        return next((p for p in self.head_processes() if words(p)[-2:] == ["-m", "cluster.orchestrator.process"]), None)

    def head_processes(self) -> list[psutil.Process]:
        """All of the head's, the orchestrator among them."""
        return head_processes(self.card.cluster_id, self.state.ray_dir(self.card.cluster_id))

    def workers(self) -> dict[str, list[psutil.Process]]:
        """The processes of each rented machine, by its launch's name, the first process first."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            name = environment(process).get(_INSTANCE, "")
            if name.startswith(self.card.cluster_id):
                found.setdefault(name, []).append(process)
        return {
            name: sorted(own, key=lambda p: (words(p)[-2:] != ["-m", "cluster.worker.local_entrypoint"], p.pid))
            for name, own in found.items()
        }

    def alive(self) -> list[tuple[str, str]]:
        """(cloud, machine) of everything that a cloud bills now."""
        bills = {name: cloud.bill()["machines"] for name, cloud in self.clouds.items()}
        return [(name, machine) for name, lines in bills.items() for machine, line in lines.items() if line["alive"]]

    def control(self, cloud: str, method: str, path: str, body: Any = None) -> None:
        """Tell a fake cloud what to do."""
        httpx.request(method, f"{self.clouds[cloud].url}/_fake/{path}", json=body, timeout=10).raise_for_status()

    def start_again(self) -> None:
        """What a person does who finds the cluster broken, or a supervisor: `aima up`, again if need be."""
        for attempt in range(1, _STARTS + 1):
            try:
                embedded.up(self.settings, lambda _line: None, self.environment)
            except embedded.ClusterError as error:
                self.say(f"`aima up` failed, attempt {attempt}: {error}")
                self.failed_starts.append(str(error))
            else:
                return
        self.violations.append(f"`aima up` did not bring the cluster back in {_STARTS} attempts")

    def live_instances(self) -> list[dict[str, Any]]:
        """What the product says is or may be billed."""
        return live_instances(self.client.instances())

    def books(self) -> Books:
        """The clouds' bills and the ledger."""
        machines, lists, now = [], {}, time.time()
        for name, cloud in self.clouds.items():
            bill = cloud.bill()
            lists[name] = bill["good_lists"]
            machines += [
                Machine(name, machine, line["created_at"], line["ended_at"])
                for machine, line in bill["machines"].items()
            ]
        engine = open_engine(f"sqlite:///{self.state.path / 'ledger.db'}")
        intents = Ledger(engine, time.time).recent(1_000_000)
        engine.dispose()
        entries = [
            Entry(i.cloud, i.instance_id, i.bought_at, i.ended_at, i.answered_at or i.buying_at or i.wanted_at)
            for i in intents
            if i.cloud and i.instance_id
        ]
        return Books(machines, entries, lists, list(self.blind), now)

    def orphans(self) -> list[psutil.Process]:
        """Processes of the cluster that outlived what they belong to."""
        workers = [process for own in self.workers().values() for process in own]
        left = {p.pid: p for p in [*workers, *processes(self.card.cluster_id), *self.head_processes()]}
        return [p for p in left.values() if lives(p)]


@contextlib.contextmanager
def staged(folder: Path, say: Say, parts: Parts) -> Iterator[Stage]:
    """Everything started; stopped when the block ends, whatever it has come to. Raises ClusterError."""
    with contextlib.ExitStack() as stack:
        logs, clocks = folder / "clouds", Clocks(folder / "clocks")
        stack.enter_context(clocks.worn())
        started = {
            kind: stack.enter_context(fake_cloud.running(kind, logs / kind, _BOOT_S)) for kind in fake_cloud.KINDS
        }
        clouds = {cloud.cloud: cloud for cloud in started.values()}
        hub_port = next(port for port in random.sample(range(9400, 9900), 500) if can_bind("", port))
        link = Link(hub_port)
        stack.callback(link.close)
        own_storage = _mount(folder / "storage", stack)
        database = stack.enter_context(small_postgres()) if parts.postgres else None
        # After the clouds: what they start has none of its credentials.
        own_bucket = stack.enter_context(bucket.running()) if parts.s3 else None
        queue = None if broker.missing() else stack.enter_context(broker.running())
        stores: dict[str, Any] = {
            "database_url": database.url if database else "",
            "queue_url": queue.url if queue else "",
            "storage_uri": own_bucket.storage_uri if own_bucket else str(folder / "storage"),
            "media": MediaSettings(storage=(own_bucket.media_uri,) if own_bucket else ()),
        }
        settings = _settings(folder / "state", hub_port, link.port, stores)
        environment = dict(os.environ) | {k: v for cloud in clouds.values() for k, v in cloud.environment.items()}
        violations: list[str] = []
        card = embedded.up(settings, say, environment)
        stack.callback(_stop, StateDir(settings.state_dir), card, violations)
        client = stack.enter_context(Client(card.api_url, StateDir(settings.state_dir).token("api")))
        yield Stage(
            settings,
            card,
            clouds,
            link,
            client,
            own_storage,
            database,
            own_bucket,
            queue,
            clocks,
            environment,
            say,
            violations,
        )


def _stop(state: StateDir, card: ClusterCard, violations: list[str]) -> None:
    """As a person does: `aima down`. What it leaves is ended all the same."""
    try:
        embedded.down(state)
    except embedded.ClusterError as error:
        violations.append(f"`aima down` failed: {error}")
        embedded.remove(state, card)


def _settings(state_dir: Path, hub_port: int, public_port: int, stores: Mapping[str, Any]) -> Settings:
    """Two machines at most, rented; everything that waits waits for seconds instead of minutes."""
    overlay = OverlaySettings(
        enabled=True, listen_host="127.0.0.1", port=hub_port, public_host="127.0.0.1", public_port=public_port,
        image="aima-worker", grace_s=90, silence_s=5, check_gpu=False,
    )  # fmt: skip
    return Settings(
        state_dir=state_dir,
        **stores,
        http=HttpSettings(port=0),
        scaling=ScalingSettings(idle_limit_s=5, segment_s=5, media_s_per_worker=30, join_timeout_s=40, cool_down_s=5),
        overlay=overlay,
        budgets=BudgetSettings(per_hour_usd=None, per_day_usd=None, per_month_usd=None),
        node_types={"gpu": NodeTypeSettings(cpus=2, min_vcpus_per_gpu=2, max_count=2, clouds=("runpod", "vastai"))},
    ).resolved()


def _mount(folder: Path, stack: contextlib.ExitStack) -> bool:
    """A small file system of its own that can be filled, where this user may mount one."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    if os.getuid() != 0 or mount is None:
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={_STORAGE_BYTES}", "aima-chaos", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return False
    stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
    return True


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """An SQLite database that nobody else can write."""
    connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()
