"""The overlay as the orchestrator uses it: the hub, who may come in, and what a machine is told before and after."""

import asyncio
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from autoscaler.fleet.demand import Demand
from autoscaler.fleet.reports import Reports
from autoscaler.types import Equipment, Intent, IntentState
from autoscaler.worker_command import START_COMMAND, HubAddress, WorkerBounds, worker_environment
from cluster.config.node_resources import OBJECT_STORE_BYTES, resource_flags
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local.listening import OwnListeners
from cluster.orchestrator.enrolment import Admission
from cluster.orchestrator.join_tokens import Joins
from cluster.overlay.addresses import NodeAddress
from cluster.overlay.hub import Hub, load_host_key
from cluster.overlay.ports import is_free

_log = logging.getLogger(__name__)
_RETIRE_EVERY_S = 2.0
_UNSHARE = (("unshare", "--net", "--"), ("unshare", "--user", "--map-root-user", "--net", "--"))


class OverlayFleet:
    """The fleet as the overlay sees it. `ready`: whether it is known which launches there are."""

    def __init__(self, demand: Demand, reports: Reports, ready: Callable[[], bool]) -> None:
        self._demand, self._reports, self.ready = demand, reports, ready

    def launch(self, name: str) -> Intent | None:
        """A launch that is still wanted, else None."""
        intent = self._demand.find(name)
        return None if intent is None or intent.state is IntentState.ENDING else intent

    def live_names(self) -> set[str]:
        """Every launch that exists or may exist."""
        return self._demand.live_names()

    def note(self, name: str, sentence: str) -> None:
        """An event."""
        self._reports.note(name, sentence)

    def reached(self, name: str, phase: str, detail: str, ago_s: float) -> None:
        """A machine has come this far: it is a node now, or unfit, or a step nearer."""
        if phase == "unfit":
            self._reports.failed(name, detail)
        elif phase == "Ray up":
            self._reports.joined(name)
        else:
            self._reports.phase(name, phase, ago_s)
            self._reports.identified(name, detail)


class Gateway:
    """Hub, admission and grants of one cluster. `serve` runs for as long as the orchestrator does."""

    def __init__(
        self,
        settings: Settings,
        state: StateDir,
        card: ClusterCard,
        joins: Joins,
        fleet: OverlayFleet,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._state, self._card, self._fleet, self._joins = settings, state, card, fleet, joins
        own = settings.overlay
        self._socket = state.hub_socket(card.cluster_id)
        self._hub_key = load_host_key(state.path / "overlay" / "host_key")
        self.admission = Admission(
            state.path / "overlay" / "nodes.json", joins, card.address, fleet, self._grant, is_free, clock
        )
        listening = OwnListeners(card.cluster_id, state.ray_dir(card.cluster_id), card.address)
        stream_bytes = own.stream_memory_mib * 1024**2
        self._hub = Hub(card.address, self._hub_key, self.admission, own.silence_s, stream_bytes, listening.serves)
        self.admission.admit, self.admission.forget = self._hub.admit, self._hub.forget
        self._port = own.port or card.address.hub_port
        self._isolation = isolation() if own.isolate_local else ()

    async def serve(self, stop: asyncio.Event) -> None:
        """Open the door, let those back in that were in, and forget nodes whose launches are over.

        The door opens when it is known which machines are wanted: until then machines dial again, as in any outage.
        """
        while not (self._fleet.ready() or stop.is_set()):
            await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=_RETIRE_EVERY_S)
        await self._hub.start(self._settings.overlay.listen_host, self._port, self._socket)
        for name, address, machine in self.admission.members():
            await self._hub.admit(name, address, machine)
        try:
            while not stop.is_set():
                self._retire()
                await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=_RETIRE_EVERY_S)
        finally:
            await self._hub.close()
            self._socket.unlink(missing_ok=True)

    def _retire(self) -> None:
        try:
            self.admission.retire(self._fleet.live_names())
        except OSError as error:  # a full disk closes no door: what could not be kept is kept the next time
            _log.error("who is in the overlay cannot be written down: %s", error)

    def tell_to_end(self, name: str, reason: str) -> bool:
        """Tell the machine of this launch to end itself; whether there was a connection to say it through."""
        return self._hub.tell_to_end(name, reason)

    def equip(self, name: str, cloud: str) -> Equipment:
        """What a machine is told: everything it needs to dial in, and a token that lets it in once."""
        public = self._settings.overlay
        where = HubAddress(public.public_host, public.public_port or self._port, self._hub.fingerprint)
        if cloud == "local":
            where = HubAddress(f"unix:{self._socket}", 0, self._hub.fingerprint)
        scaling = self._settings.scaling
        bounds = WorkerBounds(scaling.join_timeout_s, scaling.max_age_s)
        environment = worker_environment(name, where, self._joins.issue(name), bounds)
        return Equipment(environment, self._settings.overlay.image, START_COMMAND)

    def local_command(self) -> list[str]:
        """The first process of a worker on this machine, in a network of its own where that is asked for."""
        return [*self._isolation, sys.executable, "-m", "cluster.worker.local_entrypoint"]

    def _grant(self, name: str, address: NodeAddress) -> Mapping[str, Any]:
        launch = self._fleet.launch(name)
        if launch is None:
            raise PermissionError(f"{name} is not wanted any more")
        shape = self._settings.node_types[launch.node_type]
        rented = launch.cloud != "local"
        return {
            "ray_token": self._state.token("ray"),
            "node_type": launch.node_type,
            "host": address.host,
            "base_port": address.base_port,
            "node_manager_port": address.node_manager_port,
            "gcs_address": self._card.address.gcs_address,
            "grace_s": self._settings.overlay.grace_s,
            "drain_s": self._settings.scaling.drain_s,
            "ray": self._settings.ray.model_dump(mode="json"),
            "silence_s": self._settings.overlay.silence_s,
            "gpus_to_check": _gpus_paid_for(shape.gpus, launch) if rented and self._settings.overlay.check_gpu else 0,
            "object_store_bytes": OBJECT_STORE_BYTES,
            "ray_start_flags": [
                f"--address={self._card.address.gcs_address}",
                *resource_flags(shape),
                f"--labels={_labels(launch)}",
                *address.ray_start_flags(),
            ],
        }


def _gpus_paid_for(needed: float, launch: Intent) -> int:
    """All of the machine's, which may have more than its node type needs; 0 for a node type without any."""
    return max(math.ceil(needed), launch.promise.gpu_count) if needed else 0


def _labels(launch: Any) -> str:
    price = "" if launch.price_usd_per_hour is None else f"{launch.price_usd_per_hour:g}"
    facts = {
        "aima-cloud": launch.cloud,
        "aima-region": launch.region,
        "aima-gpu": launch.gpu_name,
        "aima-price-usd-per-hour": price,
    }
    return ",".join(f"{key}={_label_text(str(value))}" for key, value in facts.items() if value)


def _label_text(value: str) -> str:
    """Ray takes letters, digits, and -_. inside."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in value).strip("-_.")[:63]


def isolation() -> tuple[str, ...]:
    """The command that gives a process a network of its own, of those that work here; empty when none does."""
    for command in _UNSHARE[os.geteuid() != 0 :]:
        try:
            done = subprocess.run([*command, "true"], capture_output=True, check=False)  # noqa: S603
        except OSError:
            continue
        if done.returncode == 0:
            return command
    return ()
