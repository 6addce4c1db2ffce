"""Whose a listening socket is: the cluster's own, or another program's.

A service that listens at every address of this machine also listens at the head's overlay address. Inside the head's
port block a worker could reach it, so the block must hold nothing but Ray, when the head starts and at each stream.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.local.processes import belongs, words
from cluster.overlay.addresses import NodeAddress
from cluster.overlay.ports import Listener, listeners

# A verdict about a port holds this long; a stranger's socket is looked at again after that.
_PORT_S, _STRANGER_S = 0.5, 10.0


def holders(inodes: Iterable[int]) -> dict[int, list[psutil.Process]]:
    """Which processes hold the sockets of these numbers, as far as this user may see."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, list[psutil.Process]] = {inode: [] for inode in wanted.values()}
    for process in psutil.process_iter():
        for name in _open_files(process.pid):
            if name in wanted:
                found[wanted[name]].append(process)
    return found


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):  # another user's, or gone
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def describe(listener: Listener) -> str:
    """For people: what listens where."""
    held_by = holders([listener.inode])[listener.inode]
    who = ", ".join(f"{' '.join(words(process))[:80]!r} (process {process.pid})" for process in held_by)
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"{host}:{listener.port} by {who or f'a process of user {listener.user_id}'}"


@dataclass
class OwnListeners:
    """Whether a port of this machine is served by the cluster alone.

    Processes that this user may not look into (in Kubernetes, those of the head's container) count as the cluster's
    when they are of the same user as whoever listens at the head's GCS port.
    """

    cluster_id: str
    ray_dir: Path
    head: NodeAddress
    clock: Callable[[], float] = time.monotonic
    _ports: dict[tuple[str, int], tuple[float, bool]] = field(default_factory=dict)
    _sockets: dict[int, tuple[float, bool]] = field(default_factory=dict)

    async def serves(self, host: str, port: int) -> bool:
        """Whether everything that could take a connection to `host`:`port` is the cluster's; so too when nothing is."""
        now = self.clock()
        looked_at, verdict = self._ports.get((host, port), (float("-inf"), False))
        if now - looked_at >= _PORT_S:
            verdict = await self._judge(host, port)
            self._ports[(host, port)] = (now, verdict)
        return verdict

    async def _judge(self, host: str, port: int) -> bool:
        found = listeners({port, self.head.gcs_port})
        taking = [listener for listener in found if listener.port == port and listener.receives(host)]
        now = self.clock()
        known = {inode for inode, (at, own) in self._sockets.items() if own or now - at < _STRANGER_S}
        if unknown := [listener for listener in taking if listener.inode not in known]:
            rays_users = {each.user_id for each in found if each.port == self.head.gcs_port}
            verdicts = await asyncio.to_thread(self._inspect, unknown, rays_users)
            self._sockets = {inode: self._sockets[inode] for inode in known}
            self._sockets |= {inode: (now, own) for inode, own in verdicts.items()}
        return all(self._sockets[listener.inode][1] for listener in taking)

    def _inspect(self, unknown: list[Listener], rays_users: set[int]) -> dict[int, bool]:
        held_by = holders(listener.inode for listener in unknown)
        verdicts = {}
        for listener in unknown:
            if processes := held_by[listener.inode]:
                verdicts[listener.inode] = any(belongs(each, self.cluster_id, self.ray_dir) for each in processes)
            else:
                hidden = listener.user_id != os.geteuid()
                verdicts[listener.inode] = hidden and rays_users == {listener.user_id}
        return verdicts
