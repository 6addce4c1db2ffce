"""What a cluster leaves on disk: its address card while it runs, its id for ever, its tokens, its logs."""

import json
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.overlay.addresses import NodeAddress
from pipelines.files import write_atomically

TOKENS = ("api", "ray", "nodes", "fleet")


@dataclass(frozen=True)
class ClusterCard:
    """How to reach a cluster, written once it has an address; secrets are in files beside it, never in it."""

    cluster_id: str
    host: str
    base_port: int
    api_url: str
    orchestrator_url: str
    started_at: float

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.host, self.base_port)


@dataclass(frozen=True)
class Installation:
    """What the directory's clusters have in common: the id that their machines carry.

    `ended`: good lists have shown, after the last cluster ran, that nothing of it is left.
    """

    cluster_id: str
    ended: bool


@dataclass(frozen=True)
class StateDir:
    """The directory of one cluster."""

    path: Path

    @property
    def card_path(self) -> Path:
        return self.path / "cluster.json"

    @property
    def installation_path(self) -> Path:
        return self.path / "installation.json"

    @property
    def ledger_path(self) -> Path:
        """The orchestrator's: what was bought, and what it cost."""
        return self.path / "ledger.db"

    @property
    def clock_path(self) -> Path:
        """What the head's processes agree on about the time."""
        return self.path / "clock.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def token_path(self, name: str) -> Path:
        return self.path / "tokens" / name

    def token(self, name: str) -> str:
        return self.token_path(name).read_text(encoding="utf-8")

    def ray_dir(self, cluster_id: str) -> Path:
        """Ray's session directory: short, because Unix socket paths end at 107 bytes."""
        return Path(tempfile.gettempdir()) / cluster_id

    def forget_head(self, cluster_id: str) -> None:
        """Ray refuses to start while this file names a head, even a dead one."""
        (self.ray_dir(cluster_id) / "ray_current_cluster").unlink(missing_ok=True)

    def gcs_dir(self, cluster_id: str) -> Path:
        """Where Ray keeps what a restarted head has to know: nodes, actors, Serve's state."""
        return self.path / "gcs" / cluster_id

    @staticmethod
    def hub_socket(cluster_id: str) -> Path:
        """Where workers of this machine dial in; short, like every Unix socket's path."""
        return Path(tempfile.gettempdir()) / f"{cluster_id}.hub"

    def prepare(self) -> None:
        """Make the directory and its tokens, readable by this user only."""
        for directory in (self.path, self.path / "tokens", self.path / "overlay", self.logs):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in TOKENS:
            if not self.token_path(name).exists():
                write_private(self.token_path(name), secrets.token_hex(32))

    def write_card(self, card: ClusterCard) -> None:
        write_private(self.card_path, json.dumps(asdict(card), indent=2))

    def read_card(self) -> ClusterCard | None:
        """The card of the cluster that runs here, or was left here; None when there is none, or it is damaged."""
        try:
            return ClusterCard(**_read_json(self.card_path))
        except TypeError:
            return None

    def keep_installation(self, cluster_id: str, ended: bool) -> None:
        """Write down whose machines are ours, and whether any may be left."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.installation_path, json.dumps({"cluster_id": cluster_id, "ended": ended}))

    def installation(self) -> Installation | None:
        """What was kept; None in a new directory, in one of an older AIMA, or when the file is damaged."""
        kept = _read_json(self.installation_path)
        cluster_id = kept.get("cluster_id")
        return (
            Installation(cluster_id, kept.get("ended") is True) if cluster_id and isinstance(cluster_id, str) else None
        )

    def forget(self, cluster_id: str) -> None:
        """Remove what only a running cluster needs; its id, the database, the results and the logs stay."""
        for directory in (self.ray_dir(cluster_id), self.gcs_dir(cluster_id)):
            shutil.rmtree(directory, ignore_errors=True)
        self.hub_socket(cluster_id).unlink(missing_ok=True)
        self.card_path.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in the file; an empty one when it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, all of it or nothing."""
    write_atomically(path, [text.encode()], mode=0o600)
