"""The first process of a machine that joins through the overlay. It never just exits where that would cost money.

Joined, it keeps one SSH connection and one Ray node. It ends its own instance when it cannot join in time, boots a
second time, is unfit, loses the head for longer than the grace, is told to end, passes its maximum age, or its Ray node
ends.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.types import DRAINING
from autoscaler.worker_command import HubAddress
from cluster.overlay.spoke import HeadLost, JoinRefused, Spoke, ToldToEnd
from cluster.worker import ray_node, self_termination
from cluster.worker.loopback_device import bring_up
from cluster.worker.preflight import memory_flags, unfit
from serve_apps.models.boot_phases import listener

_STARTED = time.monotonic()
# Before its maximum age a machine takes no new work for at most this share of it.
_DRAIN_SHARE = 0.1


class Ending(Exception):
    """This machine's purpose is over; the message says why."""


@dataclass
class Rented:
    """One worker's life. `first_boot` is the file that marks a container's first boot: another one is one too many.

    None: a process of this machine, which is never started again.
    """

    name: str
    spoke: Spoke
    join_timeout_s: float
    max_age_s: float
    first_boot: Path | None
    instance_id: str = ""  # its cloud's name for it
    ray: subprocess.Popen[bytes] | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self) -> str:
        """Until the end; returns why it has come."""
        tasks = {asyncio.create_task(self._life()), asyncio.create_task(self._told_to_stop())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (Ending, HeadLost, JoinRefused, ToldToEnd) as end:
            return str(end)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)  # from here on nobody starts what would be left behind
            if self.ray is not None:
                await asyncio.to_thread(ray_node.stop, self.ray)
            await self.spoke.close()
        return "its Ray node has ended"

    async def _life(self) -> None:
        self._first_boot_only()
        grant = await self.spoke.join(self.join_timeout_s)
        self._report("image up", ago_s=time.monotonic() - _STARTED)
        self._report("joined", self.instance_id)
        await self._work(grant)

    def _first_boot_only(self) -> None:
        if self.first_boot is None:
            return
        try:
            self.first_boot.touch(exist_ok=False)
        except FileExistsError:
            raise Ending("it boots a second time") from None

    async def _work(self, grant: Mapping[str, Any]) -> None:
        connection = asyncio.create_task(self.spoke.stay(float(grant["grace_s"])))
        if why := await asyncio.to_thread(unfit, int(grant["gpus_to_check"])):
            await self._say_last("unfit", why)
            raise Ending(f"it is unfit: {why}")
        self._hear_phases()
        flags = [*grant["ray_start_flags"], *memory_flags(int(grant["object_store_bytes"]))]
        ray = asyncio.create_task(self._run_ray({**grant, "ray_start_flags": flags}))
        tasks = {connection, ray}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        for task in done:
            task.result()

    def _hear_phases(self) -> None:
        """Pass on what the node's processes say of themselves."""
        ear = listener()
        heard: set[str] = set()

        def hear() -> None:
            phase = ear.recv(256).decode(errors="replace")
            if phase not in heard:
                heard.add(phase)
                self._report(phase)

        asyncio.get_running_loop().add_reader(ear, hear)

    async def _told_to_stop(self) -> None:
        await self.stopped.wait()
        raise Ending("it was told to stop")

    async def _run_ray(self, grant: Mapping[str, Any]) -> None:
        lock = ray_node.StartLock()
        while not lock.acquire():
            await asyncio.sleep(ray_node.POLL_S)
        ray = self.ray = ray_node.start(self.name, grant)
        if await asyncio.to_thread(ray_node.wait_for_port, ray, grant["host"], int(grant["node_manager_port"])):
            self._report("Ray up")
        lock.release()
        ended = asyncio.create_task(asyncio.to_thread(ray.wait))
        bound_s = min(float(grant["drain_s"]), _DRAIN_SHARE * self.max_age_s)
        left_s = _STARTED + self.max_age_s - bound_s - time.monotonic()
        await asyncio.wait({ended}, timeout=max(0.0, left_s))
        if not ended.done():
            await self._drain(bound_s, ended)
            raise Ending(f"it has reached its maximum age of {self.max_age_s:.0f} s")

    async def _drain(self, bound_s: float, ended: "asyncio.Task[int]") -> None:
        """Take no new work; running work has `bound_s` seconds. Ray's node does that when it is told to end."""
        self._report(DRAINING)
        assert self.ray is not None
        self.ray.terminate()
        await asyncio.wait({ended}, timeout=bound_s)

    def _report(self, phase: str, detail: str = "", ago_s: float = 0.0) -> None:
        self.spoke.report({"phase": phase, "detail": detail, "ago_s": round(ago_s, 3)})

    async def _say_last(self, phase: str, detail: str) -> None:
        self._report(phase, detail)
        await asyncio.sleep(0.5)  # the line leaves before the connection does


async def _run(environment: Mapping[str, str]) -> str:
    hub = HubAddress.parse(environment["AIMA_HUB"], environment["AIMA_HUB_KEY"])
    if hub.socket_path:
        bring_up()
    name = environment["AIMA_INSTANCE"]
    own = self_termination.detect(environment)
    worker = Rented(
        name=name,
        spoke=Spoke(hub, name, environment["AIMA_JOIN_TOKEN"]),
        join_timeout_s=float(environment["AIMA_JOIN_TIMEOUT_S"]),
        max_age_s=float(environment["AIMA_MAX_AGE_S"]),
        first_boot=Path(tempfile.gettempdir()) / f"{name}.booted" if own else None,
        instance_id=own.instance_id if own else "",
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _on_sigterm, worker)
    return await worker.live()


def _on_sigterm(worker: Rented) -> None:
    """Once: stop the node in order. Twice: at once."""
    if worker.stopped.is_set() and worker.ray is not None:
        worker.ray.kill()
    worker.stopped.set()


def main() -> int:
    """Live, then end this instance; returns only where the process's end is the machine's."""
    environment = dict(os.environ)
    del os.environ["AIMA_JOIN_TOKEN"]
    own = self_termination.detect(environment)
    for secret in ("RUNPOD_API_KEY", "CONTAINER_API_KEY"):  # for this process only, not for what Ray runs
        os.environ.pop(secret, None)
    try:
        why = asyncio.run(_run(environment))
    except Exception as error:  # whatever it is: this machine must not stay without a purpose
        why = f"its first process failed: {error!r}"
    print(f"{environment['AIMA_INSTANCE']} ends: {why}", file=sys.stderr, flush=True)
    if own is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self_termination.end(own)
    return 0
