"""A fake cloud's server as a process of its own, for demonstrations: its machines are processes of this machine."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.config.child_environment import without_secrets

_STOP_TIMEOUT_S = 20.0


class FakeCloudError(RuntimeError):
    """The server did not start; the message says what it said."""


@dataclass(frozen=True)
class _Kind:
    """A cloud that has a fake: the variables that lead to it, and the path of its API."""

    cloud: str
    url_variable: str
    key_variable: str
    api_path: str = ""


KINDS = {
    "runpod-fake": _Kind("runpod", "RUNPOD_API_BASE_URL", "RUNPOD_API_KEY"),
    "vastai-fake": _Kind("vastai", "VAST_API_BASE_URL", "VAST_API_KEY", "/api"),
}


@dataclass(frozen=True)
class FakeCloud:
    """A running server. `environment` leads an orchestrator to it instead of to the real cloud."""

    cloud: str
    url: str
    environment: Mapping[str, str]

    def bill(self) -> dict[str, Any]:
        """The cloud's own bill: machines, with the seconds and USD of each."""
        return dict(httpx.get(f"{self.url}/_fake/bill", timeout=10).raise_for_status().json())


@contextlib.contextmanager
def running(kind: str, log_dir: Path, boot_s: float = 4.0) -> Iterator[FakeCloud]:
    """The server of `kind` until the end of the block, and with it every machine it sold. Raises FakeCloudError."""
    which = KINDS[kind]
    log_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"autoscaler.fakes.{which.cloud}", "--containers"]
    command += ["--boot-s", f"{boot_s:g}", "--log-dir", str(log_dir)]
    with (log_dir / f"{kind}.log").open("ab") as log:
        server = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, stderr=log)  # noqa: S603
    try:
        yield _reach(which, server, log_dir / f"{kind}.log")
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_TIMEOUT_S)
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def _reach(which: _Kind, server: subprocess.Popen[bytes], log: Path) -> FakeCloud:
    """The first line that it prints ends with its URL."""
    line = server.stdout.readline().decode() if server.stdout else ""
    if "http://" not in line:
        raise FakeCloudError(f"the fake {which.cloud} did not start: {log.read_text(errors='replace')[-500:]}")
    url = line.split()[-1]
    return FakeCloud(which.cloud, url, {which.url_variable: url + which.api_path, which.key_variable: "fake-key"})


def _environment() -> dict[str, str]:
    """What its containers find: this very Python comes first, whether or not its environment is activated."""
    own = without_secrets(os.environ)
    return own | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])}
