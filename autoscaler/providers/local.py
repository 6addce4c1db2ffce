"""The `local` cloud: worker processes on this machine. Its truth is the process table.

An instance exists as long as any process carries its name, by inheritance of the environment or by descent (Ray's
agents write their titles over their environment). It has failed when its first process is gone and others linger.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer

_CLUSTER, _INSTANCE = "AIMA_CLUSTER", "AIMA_INSTANCE"
# Between fork and exec a process still shows its parent's environment: look again while it is young.
_YOUNG_S = 5.0
_Key = tuple[int, float]
# First processes outlive the provider that started them: kept so that their exit codes can be taken.
_children: list[subprocess.Popen[bytes]] = []


class Provider:
    """`command` gives the first process of a worker; its output goes to `log_dir`."""

    name = "local"

    def __init__(
        self,
        cluster_id: str,
        command: Callable[[LaunchRequest], Sequence[str]],
        log_dir: Path,
        price_usd_per_hour: float = 0.0,
        usual_boot_s: float = 6.0,
        stop_grace_s: float = 3.0,
    ) -> None:
        self._cluster_id, self._command, self._log_dir = cluster_id, command, log_dir
        self._price, self._usual_boot_s, self._stop_grace_s = price_usd_per_hour, usual_boot_s, stop_grace_s
        self._marks: dict[_Key, str | None] = {}
        self._asked_at: dict[str, float] = {}

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """This machine, always."""
        gpu = "logical" if node_type.resources.get("GPU") else None
        return [Offer("local", "this-machine", gpu, self._price, self._usual_boot_s, "here", "own")]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Start the worker's first process in a session of its own."""
        marks = {_CLUSTER: self._cluster_id, _INSTANCE: request.name}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIMA_", "RAY_"))}
        with (self._log_dir / f"{request.name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                list(self._command(request)),
                env=inherited | dict(request.environment) | marks,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _children.append(process)
        created_at = psutil.Process(process.pid).create_time()
        self._pid_file(request.name).write_text(str(process.pid), encoding="utf-8")
        return Instance("local", request.name, request.name, InstanceStatus.RUNNING, created_at, self._price)

    async def list_instances(self) -> list[Instance]:
        """Every instance with a live process."""
        _reap()
        found = await asyncio.to_thread(self._scan)
        for name in set(self._asked_at) - set(found):
            del self._asked_at[name]
        return [self._instance(name, processes) for name, processes in sorted(found.items())]

    async def terminate_instance(self, instance_id: str) -> None:
        """SIGTERM to the first process, SIGKILL to all of them when called again after the grace."""
        processes = (await asyncio.to_thread(self._scan)).get(instance_id, [])
        if not processes:
            return
        first = self._first(instance_id, processes)
        asked_at = self._asked_at.setdefault(instance_id, time.monotonic())
        if first is not None and time.monotonic() - asked_at < self._stop_grace_s:
            _send(first, signal.SIGTERM)
            return
        for process in processes:
            _send(process, signal.SIGKILL)

    def _instance(self, name: str, processes: list[psutil.Process]) -> Instance:
        created_at = min(process.create_time() for process in processes)
        if name in self._asked_at:
            status, detail = InstanceStatus.TERMINATING, ""
        elif self._first(name, processes) is None:
            status, detail = InstanceStatus.FAILED, "its first process is gone"
        else:
            status, detail = InstanceStatus.RUNNING, ""
        return Instance("local", name, name, status, created_at, self._price, detail)

    def _scan(self) -> dict[str, list[psutil.Process]]:
        """Live processes by instance name."""
        found: dict[str, dict[_Key, psutil.Process]] = {}
        seen: dict[_Key, str | None] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                key = (process.pid, process.create_time())
                seen[key] = self._marks[key] if key in self._marks else self._mark(process)
                if (name := seen[key]) is None or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                family = {(p.pid, p.create_time()): p for p in (process, *process.children(recursive=True))}
                found.setdefault(name, {}).update(family)
        now = time.time()  # noqa: TID251 - compared with the kernel's own times
        self._marks = {key: name for key, name in seen.items() if name is not None or now - key[1] > _YOUNG_S}
        return {name: list(processes.values()) for name, processes in found.items()}

    def _mark(self, process: psutil.Process) -> str | None:
        environment = process.environ()
        return environment.get(_INSTANCE) if environment.get(_CLUSTER) == self._cluster_id else None

    def _first(self, name: str, processes: Sequence[psutil.Process]) -> psutil.Process | None:
        """The process that was started for the instance, if it lives."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file(name).read_text(encoding="utf-8"))
            return next((process for process in processes if process.pid == pid), None)
        return None

    def _pid_file(self, name: str) -> Path:
        return self._log_dir / f"{name}.pid"


def _reap() -> None:
    """Take the exit codes of our ended children, or they stay as zombies."""
    _children[:] = [child for child in _children if child.poll() is None]


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
