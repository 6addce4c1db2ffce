"""Ledger, clouds, reconciler and the overlay's hub, composed from the settings."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from autoscaler.clouds.registry import load_provider
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.reconciler import Reconciler
from autoscaler.fleet.spec import Rules, Spec
from autoscaler.records.journal import Journal, WriterThread
from autoscaler.records.ledger import Ledger
from autoscaler.types import Equipment, IntentState, LaunchRequest, NodeType, Offer
from cluster.config.child_environment import without_secrets
from cluster.config.node_resources import OBJECT_STORE_BYTES, resource_flags
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.orchestrator.bills import open_ledger, reconciliation, with_bills
from cluster.orchestrator.cloud_factory import budgets, node_types, pace, policy, providers, unreachable
from cluster.orchestrator.join_tokens import Joins, Refused
from cluster.orchestrator.ledger_file import read_ledger
from cluster.orchestrator.metrics import FleetMetrics
from cluster.orchestrator.overlay_server import Gateway, OverlayFleet
from cluster.overlay.addresses import first_free
from cluster.overlay.ports import is_free
from cluster.steady_clock import SteadyClock
from cluster.storage.database import open_engine

# How long the start waits for the ledger before it goes on without.
_LEDGER_PATIENCE_S = 5.0


class Orchestrator:
    """Composes ledger, clouds and reconciler from settings; what the API does, it does."""

    def __init__(self, settings: Settings, state: StateDir, card: ClusterCard) -> None:
        self.state, self.card, self.settings = state, card, settings
        self.clock = SteadyClock(kept=state.clock_path)
        lifetime_s = settings.scaling.join_window_s
        self.joins = Joins(self.clock, state.path / "overlay" / "pending.json", lifetime_s)
        self._next_block = int((card.base_port - 10_000) / 64) + 1
        self.metrics = FleetMetrics()
        facts, home = read_ledger(state.ledger_path), Path.home()
        self.clouds = providers(settings, card.cluster_id, os.environ, home, self.clock, self._local_cloud, facts)
        launches = Launches(self._journal(), self.clock, self.metrics)
        launches.load(_LEDGER_PATIENCE_S)  # nobody waits yet; what cannot be read now is read later
        self.bills = reconciliation(settings.budgets, open_ledger(state), self.clouds, card.cluster_id, self.clock)
        self.reconciler = Reconciler(
            Spec(card.cluster_id, node_types(settings), self._equip, self._forbids),
            self.clouds,
            launches,
            Rules(policy(settings, self.clouds), budgets(settings), pace()),
            self._tell_to_end,
        )
        self.metrics.watch(self.fleet, self.reconciler.billed_s, self._lane_of)
        fleet = OverlayFleet(self.reconciler.demand, self.reconciler.reports, self.reconciler.ready)
        self.gateway = (
            Gateway(settings, state, card, self.joins, fleet, self.clock) if settings.overlay.enabled else None
        )

    def fleet(self) -> dict[str, Any]:
        """The fleet's view, with the clouds' bills."""
        return with_bills(self.reconciler.fleet(), self.bills)

    def _journal(self) -> Journal:
        path = self.state.ledger_path
        with contextlib.suppress(OSError):  # a disk that cannot be written keeps no machine from its end
            path.touch(mode=0o600)  # what SQLite puts beside it is no more open
        ledger = Ledger(open_engine(f"sqlite:///{path}"), self.clock)
        return Journal(ledger, self.clock, WriterThread("ledger"))

    def _forbids(self) -> str:
        """By a clock that is not set, budgets and ages would be wrong by decades once it is."""
        return "" if self.clock.is_set else "this machine's clock has not been set yet: nothing is bought before it is"

    def _tell_to_end(self, name: str, reason: str) -> bool:
        return self.gateway is not None and self.gateway.tell_to_end(name, reason)

    def _lane_of(self, node_type: str) -> str:
        shape = self.settings.node_types.get(node_type)
        return "gpu" if shape is None or shape.gpus else "cpu"

    def _local_cloud(self) -> Any:
        return load_provider(
            "local",
            cluster_id=self.card.cluster_id,
            command=self._local_command,
            log_dir=self.state.logs,
            environment=without_secrets(os.environ),
            price_usd_per_hour=self.settings.local.price_usd_per_hour,
        )

    def _local_command(self, _request: LaunchRequest) -> list[str]:
        if self.gateway is not None:
            return self.gateway.local_command()
        return [sys.executable, "-m", "cluster.worker.local_entrypoint"]

    def _equip(self, name: str, _node_type: NodeType, offer: Offer) -> Equipment:
        if self.gateway is not None:
            return self.gateway.equip(name, offer.cloud)
        return Equipment(
            {"AIMA_ORCHESTRATOR_URL": self.card.orchestrator_url, "AIMA_JOIN_TOKEN": self.joins.issue(name)}
        )

    def askable(self) -> list[str]:
        """The clouds that can be asked: a drain that has returned has good lists of each."""
        return sorted(self.clouds.keys() - unreachable(self.clouds))

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile, and keep the overlay's door, until `stop`."""
        loops = [self.reconciler.run(stop), self.bills.run(stop)]
        if self.gateway is not None:
            loops.append(self.gateway.serve(stop))
        try:
            await asyncio.gather(*loops)
        finally:
            await asyncio.to_thread(self.reconciler.close)

    def admit(self, name: str, token: str) -> dict[str, Any]:
        """Everything a worker needs to become a Ray node. Raises Refused."""
        report_token = self.joins.redeem(name, token)
        intent = self.reconciler.demand.find(name)
        if intent is None or intent.state is IntentState.ENDING:
            raise Refused(f"{name} is not wanted any more")
        address = first_free(self._next_block, is_free)
        self._next_block = int((address.base_port - 10_000) / 64) + 1
        shape = self.settings.node_types[intent.node_type]
        return {
            "report_token": report_token,
            "ray_token": self.state.token("ray"),
            "node_type": intent.node_type,
            "host": address.host,
            "node_manager_port": address.node_manager_port,
            "max_age_s": self.settings.scaling.max_age_s,
            "grace_s": self.settings.overlay.grace_s,
            "drain_s": self.settings.scaling.drain_s,
            "ray": self.settings.ray.model_dump(mode="json"),
            "ray_start_flags": [
                f"--address={self.card.address.gcs_address}",
                *resource_flags(shape),
                f"--object-store-memory={OBJECT_STORE_BYTES}",
                *address.ray_start_flags(),
            ],
        }
