"""A PostgreSQL server of one's own, with the settings that k8s/base gives it, for what a shared one cannot show."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.waiting import wait_until

CONFIGURATION = Path(__file__).parents[3] / "k8s" / "base" / "postgresql.conf"


class NoPostgres(RuntimeError):
    """PostgreSQL's server is not installed here."""


@dataclass(frozen=True)
class SmallPostgres:
    """A running server. Its database `aima` belongs to the user `aima`."""

    url: str
    server: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """The server and all its backends."""
        return [self.server, *self.server.children(recursive=True)]


def server_programs() -> Path:
    """The folder of initdb and postgres. Raises NoPostgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        raise NoPostgres("no PostgreSQL server is installed (looked in /usr/lib/postgresql and PATH)")
    return found[-1].parent if found else Path(str(on_path)).parent


@contextmanager
def small_postgres() -> Iterator[SmallPostgres]:
    """Start one on a free port; it and its files are gone afterwards. Raises NoPostgres."""
    programs = server_programs()
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        data, user = Path(directory) / "data", _unprivileged(Path(directory))
        subprocess.run(
            [str(programs / "initdb"), "--pgdata", str(data), "--username", "aima", "--auth", "trust", "--no-sync"],
            user=user, check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        port = _free_port()
        where = [f"-cport={port}", f"-cunix_socket_directories={directory}", "-clisten_addresses=127.0.0.1"]
        command = [str(programs / "postgres"), "-D", str(data), f"-cconfig_file={CONFIGURATION}", *where]
        with subprocess.Popen(command, user=user, cwd="/", stderr=subprocess.DEVNULL) as server:
            try:
                ask = [str(programs / "pg_isready"), "--quiet", f"--host={directory}", f"--port={port}"]
                wait_until("PostgreSQL answers", lambda: subprocess.run(ask, check=False).returncode == 0)
                subprocess.run(
                    [str(programs / "createdb"), f"-h{directory}", f"-p{port}", "-Uaima", "aima"], check=True
                )
                yield SmallPostgres(f"postgresql+psycopg://aima@127.0.0.1:{port}/aima", psutil.Process(server.pid))
            finally:
                server.send_signal(signal.SIGINT)  # a fast shutdown: it waits for no client


def _unprivileged(directory: Path) -> int:
    """The user that may run the server: it refuses root."""
    if os.getuid() != 0:
        return os.getuid()
    user = pwd.getpwnam("postgres")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return user.pw_uid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
