"""A container, as far as a fake cloud needs one: a process on this machine that is started again when it ends.

Its disk is a directory beside its log: its TMPDIR, kept when it is started again and gone when it is removed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_MARK = "AIMA_FAKE_CONTAINER"
# A command that fails at once is not to keep this machine busy.
_RESTART_PAUSE_S = 1.0


class Container:
    """Runs `command` in a session of its own. Nothing that it starts survives its end."""

    def __init__(self, machine_id: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.command, self._log, self._disk = list(command), log, log.with_suffix(".disk")
        self._mark = f"{os.getpid()}-{machine_id}"
        self.environment = dict(environment) | {_MARK: self._mark, "TMPDIR": str(self._disk)}
        self._first: subprocess.Popen[bytes] | None = None
        self._started_at = float("-inf")

    def keep_running(self) -> None:
        """Start it, or start it again when its first process has ended, as the clouds do."""
        if self._first is not None and self._first.poll() is None:
            return
        if time.monotonic() - self._started_at < _RESTART_PAUSE_S:
            return
        self._started_at = time.monotonic()
        if self._first is not None:
            self.kill()
        self._disk.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self._first = subprocess.Popen(  # noqa: S603
                self.command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def remove(self) -> None:
        """End every process of it, and its disk."""
        self.kill()
        shutil.rmtree(self._disk, ignore_errors=True)

    def kill(self) -> None:
        """End every process of it."""
        if self._first is None:
            return
        for process in self._processes(self._first.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._first.wait()

    def _processes(self, first_pid: int) -> list[psutil.Process]:
        """Its first process's descendants and session, and what inherited its mark."""
        found: dict[int, psutil.Process] = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(first_pid)
            found = {process.pid: process for process in (first, *first.children(recursive=True))}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == first_pid or process.environ().get(_MARK) == self._mark:
                    found[process.pid] = process
        return list(found.values())
