"""What goes wrong on the machines: processes, the link, the database. One function a fault.

Each is a context manager: entered it strikes and says what it did, left it mends. "" says that nothing was there to be
struck: it comes again a little later.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.local.processes import words
from tests.chaos.schedule import Habit
from tests.chaos.stage import Stage, locked, sqlite_path
from tests.chaos.verdict import Blind

_TAKES_ALONG_S = 10.0
_PARTS = ("gcs_server", "raylet", "ServeController", "ProxyActor", "monitor.py", "dashboard")
Strikes = Callable[[Stage, random.Random], AbstractContextManager[str]]


def _applies(_stage: Stage) -> str:
    return ""


@dataclass(frozen=True)
class Kind:
    """A kind of fault. `missing` says why it cannot be on this stage, or ""."""

    strike: Strikes
    habit: Habit = Habit()  # noqa: RUF009 - frozen
    missing: Callable[[Stage], str] = _applies


@contextlib.contextmanager
def worker_killed(stage: Stage, chance: random.Random) -> Iterator[str]:
    """SIGKILL to every process of a rented machine; its cloud starts the container anew."""
    if not (workers := stage.workers()):
        yield ""
        return
    name = chance.choice(sorted(workers))
    kill(workers[name])
    yield f"all {len(workers[name])} processes of {name} were killed"


@contextlib.contextmanager
def worker_part_killed(stage: Stage, chance: random.Random) -> Iterator[str]:
    """SIGKILL to one process of a rented machine: the raylet, a replica, an agent."""
    workers = {name: own[1:] for name, own in stage.workers().items() if own[1:]}
    if not workers:
        yield ""
        return
    name = chance.choice(sorted(workers))
    victim = chance.choice(workers[name])
    what = title(victim)
    kill([victim])
    yield f"{what} of {name} was killed"


@contextlib.contextmanager
def worker_stopped(stage: Stage, chance: random.Random) -> Iterator[str]:
    """SIGSTOP to the process that holds a machine's link, SIGCONT later."""
    if not (workers := stage.workers()):
        yield ""
        return
    name = chance.choice(sorted(workers))
    with asleep(workers[name][:1]):
        yield f"the first process of {name} stands still"


@contextlib.contextmanager
def link_mute(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """Nothing passes between rented machines and the hub, and nobody is told."""
    with stage.link.mute() as number:
        yield f"the link of {number} machines is mute" if number else ""


@contextlib.contextmanager
def link_cut(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """Every connection to the hub is reset, and none is accepted."""
    with stage.link.cut() as number:
        yield f"the links of {number} machines were reset, and none is accepted" if number else ""


@contextlib.contextmanager
def api_killed(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """SIGKILL to the replica that answers HTTP and dispatches; Serve starts another."""
    victims = [p for p in stage.head_processes() if "ServeReplica:aima:Api" in title(p)]
    kill(victims)
    yield "the API's replica was killed" if victims else ""


@contextlib.contextmanager
def head_part_killed(stage: Stage, chance: random.Random) -> Iterator[str]:
    """SIGKILL to one of Ray's processes on the head; who runs it starts it again."""
    with stage.head:
        victims = [p for p in stage.head_processes() if any(part in title(p) for part in _PARTS)]
        what = ""
        if victims:
            victim = chance.choice(sorted(victims, key=lambda p: p.pid))
            what = title(victim)
            kill([victim])
            # A dead part takes the others along, or not; until then the API may still answer, and nothing be started.
            deadline = time.monotonic() + _TAKES_ALONG_S
            while time.monotonic() < deadline and any("cluster.head.start" in words(p) for p in stage.head_processes()):
                time.sleep(0.2)
            stage.start_again()
        yield f"{what} of the head was killed" if what else ""


@contextlib.contextmanager
def ray_killed(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """`kill -9` of everything of Ray's on the head; the orchestrator goes on, and the head is started again."""
    with stage.head:
        orchestrator = stage.orchestrator()
        began = time.time()
        victims = [p for p in stage.head_processes() if orchestrator is None or p.pid != orchestrator.pid]
        kill(victims)
        stage.start_again()
        stage.blind.append(Blind(began, time.time(), forgets=True))  # starting again ends what is left, and that too
        yield f"all {len(victims)} processes of Ray's head were killed, and `aima up` started it again"


@contextlib.contextmanager
def head_killed(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """`kill -9` of everything on the head, the orchestrator too."""
    with stage.head:
        began, victims = time.time(), stage.head_processes()
        kill(victims)
        stage.start_again()
        stage.blind.append(Blind(began, time.time(), forgets=True))
        yield f"all {len(victims)} processes of the head were killed, and `aima up` started it again"


@contextlib.contextmanager
def orchestrator_killed(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """SIGKILL to the process that spends money, and `aima up`."""
    with stage.head:
        victim, began = stage.orchestrator(), time.time()
        if victim is not None:
            kill([victim])
            stage.start_again()
            stage.blind.append(Blind(began, time.time(), forgets=True))
        yield "the orchestrator was killed, and `aima up` started it again" if victim else ""


@contextlib.contextmanager
def orchestrator_stopped(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """SIGSTOP to the process that spends money, SIGCONT later."""
    victim, began = stage.orchestrator(), time.time()
    if victim is None:
        yield ""
        return
    with asleep([victim]):
        yield "the orchestrator stands still"
    stage.blind.append(Blind(began, time.time()))


@contextlib.contextmanager
def database_locked(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """Somebody holds the service's database and lets nobody write."""
    with locked(_file(stage)):
        yield "the service's database is locked"


@contextlib.contextmanager
def postgres_crashed(stage: Stage, chance: random.Random) -> Iterator[str]:
    """SIGKILL to a backend: PostgreSQL ends all others, recovers, and takes connections again."""
    assert stage.postgres
    backends = [p for p in stage.postgres.server.children() if "aima" in " ".join(words(p))]
    kill([chance.choice(backends)] if backends else [])
    yield "PostgreSQL crashed and recovers" if backends else ""


@contextlib.contextmanager
def postgres_stopped(stage: Stage, _chance: random.Random) -> Iterator[str]:
    """PostgreSQL answers nobody for a while."""
    assert stage.postgres
    with asleep(stage.postgres.processes()):
        yield "PostgreSQL stands still"


def _file(stage: Stage) -> Path:
    path = sqlite_path(stage.settings.database_url)
    assert path is not None
    return path


def kill(victims: list[psutil.Process]) -> None:
    """SIGKILL; what has ended already has ended."""
    for victim in victims:
        with contextlib.suppress(psutil.Error):
            victim.kill()


@contextlib.contextmanager
def asleep(victims: list[psutil.Process]) -> Iterator[None]:
    """SIGSTOP until the block ends."""
    for victim in victims:
        with contextlib.suppress(psutil.Error):
            victim.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.send_signal(signal.SIGCONT)


def title(process: psutil.Process) -> str:
    """What it calls itself, for people."""
    said = words(process)
    if "-m" in said[:-1]:
        return said[said.index("-m") + 1]
    scripts = [word for word in said[1:] if word.endswith(".py")]
    return (scripts or said or ["a process"])[0].split(" ")[0].rsplit("/", 1)[-1] or "a process"


def _only_sqlite(stage: Stage) -> str:
    return "" if sqlite_path(stage.settings.database_url) else "the database is PostgreSQL"


def _only_postgres(stage: Stage) -> str:
    return "" if stage.postgres else "the database is SQLite (try --database postgresql)"


KINDS = {
    "worker killed": Kind(worker_killed),
    "worker's part killed": Kind(worker_part_killed),
    "worker stopped": Kind(worker_stopped, Habit((2.0, 12.0))),
    "link mute": Kind(link_mute, Habit((2.0, 12.0))),
    "link cut": Kind(link_cut, Habit((0.0, 6.0))),
    "API killed": Kind(api_killed, Habit(rest_s=15)),
    "head's part killed": Kind(head_part_killed, Habit(rest_s=40)),
    "Ray's head killed": Kind(ray_killed, Habit(rest_s=60)),
    "head killed": Kind(head_killed, Habit(rest_s=60)),
    "orchestrator killed": Kind(orchestrator_killed, Habit(rest_s=20)),
    "orchestrator stopped": Kind(orchestrator_stopped, Habit((2.0, 8.0))),
    "database locked": Kind(database_locked, Habit((2.0, 8.0)), _only_sqlite),
    "database crashed": Kind(postgres_crashed, Habit(rest_s=10), _only_postgres),
    "database stopped": Kind(postgres_stopped, Habit((2.0, 8.0)), _only_postgres),
}
