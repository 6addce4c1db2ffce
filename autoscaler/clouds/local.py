"""The `local` cloud: worker processes on this machine. Its truth is the process table.

An instance exists as long as any of its processes does: those of the session that its first process leads, those that
inherited its mark in their environment, and their descendants. (Ray's agents write their titles over their
environment, so the mark alone would miss them.) It has failed when its first process is gone and others linger.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from autoscaler.errors import NoCapacity
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer, SkippedRow, Trust

_CLUSTER, _INSTANCE = "AIMA_CLUSTER", "AIMA_INSTANCE"
# Between fork and exec a process still shows its parent's environment: look again while it is young.
_YOUNG_S = 5.0
_EXCERPT_LINES = 5
# Holds the pid of an instance's first process, and when it started, for the next orchestrator: in seconds since boot,
# since the time of day of both moves whenever the machine's clock is set.
_FIRST_SUFFIX = ".first"
_Key = tuple[int, float]
# First processes outlive the provider that started them: kept so that their exit codes can be taken.
_children: list[subprocess.Popen[bytes]] = []


class Provider:
    """`command` gives the first process of a worker, `environment` what it inherits; its output goes to `log_dir`."""

    name = "local"

    def __init__(
        self,
        cluster_id: str,
        command: Callable[[LaunchRequest], Sequence[str]],
        log_dir: Path,
        environment: Mapping[str, str],
        price_usd_per_hour: float = 0.0,
        usual_boot_s: float = 6.0,
        stop_grace_s: float = 3.0,
    ) -> None:
        self._cluster_id, self._command = cluster_id, command
        self._log_dir, self._environment = log_dir, dict(environment)
        self._price, self._usual_boot_s, self._stop_grace_s = price_usd_per_hour, usual_boot_s, stop_grace_s
        self._marks: dict[_Key, str | None] = {}
        self._asked_at: dict[str, float] = {}
        self._first = {path.stem: _read_key(path) for path in log_dir.glob(f"*{_FIRST_SUFFIX}")}

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """This machine, always."""
        gpu = "logical" if node_type.resources.get("GPU") else None
        return [Offer("local", "this-machine", gpu, self._price, self._usual_boot_s, "here", Trust.OWN)]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Start the worker's first process in a session of its own."""
        marks = {_CLUSTER: self._cluster_id, _INSTANCE: request.name}
        try:
            with (self._log_dir / f"{request.name}.log").open("ab") as log:
                process = subprocess.Popen(  # noqa: S603
                    list(self._command(request)),
                    env=self._environment | dict(request.environment) | marks,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise NoCapacity(f"its first process cannot be started: {error}") from error
        _children.append(process)
        created_at = psutil.Process(process.pid).create_time()
        self._first[request.name] = (process.pid, created_at)
        since_boot_s = round(created_at - psutil.boot_time(), 2)  # the kernel counts in hundredths
        self._first_path(request.name).write_text(json.dumps([process.pid, since_boot_s]), encoding="utf-8")
        return Instance("local", request.name, request.name, InstanceStatus.RUNNING, created_at, self._price)

    async def list_instances(self) -> list[Instance]:
        """Every instance with a live process."""
        _reap()
        known = {*self._first, *self._asked_at}
        found = await asyncio.to_thread(self._scan)
        for name in known - set(found):
            self._forget(name)
        return [self._instance(name, processes) for name, processes in sorted(found.items())]

    def skipped_rows(self) -> list[SkippedRow]:
        """None: the process table is our own."""
        return []

    async def instance_exists(self, instance_id: str) -> bool:
        """Whether any of its processes lives."""
        return instance_id in await asyncio.to_thread(self._scan)

    async def terminate_instance(self, instance_id: str) -> None:
        """SIGTERM to the first process, SIGKILL to all of them when called again after the grace."""
        processes = (await asyncio.to_thread(self._scan)).get(instance_id, [])
        if not processes:
            return
        first = self._first_process(instance_id, processes)
        asked_at = self._asked_at.setdefault(instance_id, time.monotonic())
        if first is not None and time.monotonic() - asked_at < self._stop_grace_s:
            _send(first, signal.SIGTERM)
            return
        for process in processes:
            _send(process, signal.SIGKILL)

    async def log_excerpt(self, instance_id: str) -> str:
        """The last lines that its processes wrote."""
        path = self._log_dir / f"{instance_id}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return "; ".join(line.strip() for line in lines[-_EXCERPT_LINES:])

    async def close(self) -> None:
        """There are no connections; the instances stay."""

    def _instance(self, name: str, processes: Sequence[psutil.Process]) -> Instance:
        created_at = min(process.create_time() for process in processes)
        if name in self._asked_at:
            status, detail = InstanceStatus.TERMINATING, ""
        elif self._first_process(name, processes) is None:
            status, detail = InstanceStatus.FAILED, "its first process is gone"
        else:
            status, detail = InstanceStatus.RUNNING, ""
        return Instance("local", name, name, status, created_at, self._price, detail)

    def _scan(self) -> dict[str, list[psutil.Process]]:
        """Live processes by instance name, in one pass over the process table."""
        everything = {process.pid: process for process in psutil.process_iter()}
        sessions = self._sessions(everything)
        named: dict[int, str] = {}
        seen: dict[_Key, str | None] = {}
        for pid, process in everything.items():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                key = (pid, process.create_time())
                seen[key] = self._marks[key] if key in self._marks else self._mark(process)
                if name := seen[key] or sessions.get(os.getsid(pid)):
                    named[pid] = name
        now = time.time()  # noqa: TID251 - compared with the kernel's own times
        self._marks = {key: name for key, name in seen.items() if name is not None or now - key[1] > _YOUNG_S}
        return _alive(everything, _with_descendants(everything, named)) if named else {}

    def _sessions(self, everything: Mapping[int, psutil.Process]) -> dict[int, str]:
        """Instance names by session id. A pid that has become somebody else's leads no session of ours."""
        sessions = {}
        for name, (pid, created_at) in self._first.items():
            with contextlib.suppress(psutil.Error):
                if pid not in everything or everything[pid].create_time() == created_at:
                    sessions[pid] = name
        return sessions

    def _mark(self, process: psutil.Process) -> str | None:
        environment = process.environ()
        return environment.get(_INSTANCE) if environment.get(_CLUSTER) == self._cluster_id else None

    def _first_process(self, name: str, processes: Iterable[psutil.Process]) -> psutil.Process | None:
        """The process that was started for the instance, if it lives."""
        return next((p for p in processes if (p.pid, p.create_time()) == self._first.get(name)), None)

    def _forget(self, name: str) -> None:
        """It is gone, and its first process's id is free for anybody."""
        self._asked_at.pop(name, None)
        self._first.pop(name, None)
        self._first_path(name).unlink(missing_ok=True)

    def _first_path(self, name: str) -> Path:
        return self._log_dir / f"{name}{_FIRST_SUFFIX}"


def _read_key(path: Path) -> _Key:
    pid, since_boot_s = json.loads(path.read_text(encoding="utf-8"))
    return int(pid), float(since_boot_s) + psutil.boot_time()


def _with_descendants(everything: Mapping[int, psutil.Process], named: Mapping[int, str]) -> dict[int, str]:
    """`named` and every descendant of it, by the same names."""
    children: dict[int, list[int]] = {}
    for pid, process in everything.items():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(pid)
    family, waiting = dict(named), list(named)
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent, ()):
            if child not in family:
                family[child] = family[parent]
                waiting.append(child)
    return family


def _alive(everything: Mapping[int, psutil.Process], names: Mapping[int, str]) -> dict[str, list[psutil.Process]]:
    found: dict[str, list[psutil.Process]] = {}
    for pid, name in names.items():
        with contextlib.suppress(psutil.Error):
            if everything[pid].status() != psutil.STATUS_ZOMBIE:
                found.setdefault(name, []).append(everything[pid])
    return found


def _reap() -> None:
    """Take the exit codes of our ended children, or they stay as zombies."""
    _children[:] = [child for child in _children if child.poll() is None]


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
