"""A cluster that has left machines at fake clouds: its state directory, its ledger, and what opens the clouds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from autoscaler.fakes.serving import KEY
from autoscaler.names import launch_name, new_cluster_id
from autoscaler.records.ledger import intents, metadata
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local.ending import Access
from cluster.storage.database import open_engine
from tests.support.clouds.providers import Rented

LONG_AGO = 1_000_000.0
_VARIABLES = {
    "runpod": ("RUNPOD_API_KEY", "RUNPOD_API_BASE_URL", ""),
    "vastai": ("VAST_API_KEY", "VAST_API_BASE_URL", "/api"),
}


@dataclass
class LeftBehind:
    """`folder` is the home directory of whoever ends it, too: no key lies there."""

    folder: Path
    cluster_id: str = field(default_factory=new_cluster_id)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> StateDir:
        return StateDir(self.folder / "state")

    @property
    def access(self) -> Access:
        return Access(None, self.environment, self.folder)

    def dead(self) -> ClusterCard:
        """Write the card of a cluster of which no process runs any more."""
        self.state.prepare()
        settings = Settings(state_dir=self.state.path).resolved()
        (self.state.path / "settings.yaml").write_text(settings.model_dump_json())
        card = ClusterCard(self.cluster_id, "127.0.0.1", 10_000, "http://127.0.0.1:9", "http://127.0.0.1:9", 0.0)
        self.state.write_card(card)
        self.state.keep_installation(self.cluster_id, ended=False)
        return card

    def open_at(self, cloud: Rented, with_key: bool = True, bought_at: float = LONG_AGO) -> str:
        """A machine that runs there and that the ledger knows; returns its name."""
        name = launch_name(self.cluster_id, "gpu", f"{len(self.entries()):08x}")
        machine = cloud.create(name)
        bought = {"instance_id": machine.instance_id, "bought_at": bought_at, "price_usd_per_hour": 0.74}
        self.enter(name, cloud.provider.name, "bought", **bought)
        if with_key:
            self.give_key(cloud)
        return name

    def give_key(self, cloud: Rented) -> None:
        key, url, path = _VARIABLES[cloud.provider.name]
        self.environment |= {key: KEY, url: cloud.url + path}

    def enter(self, name: str, cloud: str, state: str, **values: Any) -> None:
        """Write a launch into the ledger, wanted and bought long ago."""
        row = {"name": name, "node_type": "gpu", "state": state, "tags": {}, "cloud": cloud, "wanted_at": LONG_AGO}
        row |= {"buying_at": LONG_AGO, "reason": "", "phases": {}, "broken": False}
        self._execute(insert(intents).values(**row | values))

    def entries(self) -> dict[str, str]:
        """Each launch's state."""
        if not self.state.ledger_path.exists():
            return {}
        return dict(self._execute(select(intents.c.name, intents.c.state)))

    def _execute(self, statement: Any) -> list[Any]:
        engine = open_engine(f"sqlite:///{self.state.ledger_path}")
        try:
            metadata.create_all(engine)
            with engine.begin() as connection:
                result = connection.execute(statement)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()
