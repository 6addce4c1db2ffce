"""A whole cluster on this machine: two processes, the orchestrator and Ray's head, and whatever these start."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import psutil

from cluster.config.child_environment import storage_access, without_secrets
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir, write_private
from cluster.head import supervisor
from cluster.head.api_health import is_ready
from cluster.local.listening import describe
from cluster.local.processes import MARKER, head_processes, processes, words
from cluster.orchestrator.cloud_factory import access_variables
from cluster.overlay.addresses import BLOCKS, first_free
from cluster.overlay.ports import can_bind, is_free, listeners

_READY_TIMEOUT_S = 180.0  # a restarted head may wait for Serve first, and start once more then
_API_RESTART_S = 20.0
_REVIVALS = 2
_DRAIN_TIMEOUT_S = 75.0
_STOP_GRACE_S = 3.0
_STOP_ROUNDS = 4
# Processes that outlive the call that started them, kept so that their exit codes can be taken.
_started: list[subprocess.Popen[bytes]] = []


class ClusterError(RuntimeError):
    """The cluster could not be started, reached or stopped; the message says what to do."""


def up(
    settings: Settings,
    say: Callable[[str], None] = lambda _line: None,
    environment: Mapping[str, str] = os.environ,
) -> ClusterCard:
    """Start a cluster that stays, or return the one that runs here already. Raises ClusterError.

    What of `environment` gives access to clouds reaches the orchestrator only.
    """
    state = StateDir(settings.state_dir)
    if (running := state.read_card()) is not None:
        if _comes_back(state, running):
            if not _listens(running, running.address.orchestrator_port):
                say(f"the orchestrator of {running.cluster_id} has ended; restarting it. Ray keeps running")
                _start_orchestrator(state, running, environment)
            return running
        say(f"{running.cluster_id} is not responding; restarting its head. Its workers keep running")
        return _revive(settings, state, running, environment)
    state.prepare()
    card = _new_card(settings)
    state.write_card(card)
    say(f"starting the orchestrator and Ray's head at {card.host}, ports {card.base_port}-{card.base_port + 63}")
    try:
        _start(settings, state, card, environment)
    except BaseException:
        remove(state, card)
        raise
    return card


def _revive(settings: Settings, state: StateDir, card: ClusterCard, environment: Mapping[str, str]) -> ClusterCard:
    """Start the head of a cluster again that has lost it: same address, same Ray session, the workers still there.

    Twice if need be: a worker of this machine that starts at the same moment may take the name of the head's socket.
    """
    last = ""
    for _attempt in range(_REVIVALS):
        # Killed, as by a crash: told to end together, Ray's parts may note half of their end
        # (see supervisor.end_children).
        _stop_all(card, lambda: head_processes(card.cluster_id, state.ray_dir(card.cluster_id)), grace_s=0.0)
        state.forget_head(card.cluster_id)
        state.prepare()
        try:
            _start(settings, state, card, environment)
        except ClusterError as error:
            last = str(error)
        else:
            return card
    _stop_all(card, lambda: head_processes(card.cluster_id, state.ray_dir(card.cluster_id)), grace_s=0.0)
    raise ClusterError(f"{last}\n`aima down` ends its workers and clears the way for a new cluster")


def _start_orchestrator(state: StateDir, card: ClusterCard, environment: Mapping[str, str]) -> None:
    """Start it with what the running cluster was told. Without it the API answers, but nothing is bought or ended."""
    child = _spawn(state, card, "cluster.orchestrator.process", access_variables(environment))
    _wait_until(lambda: _listens(card, card.address.orchestrator_port), "the orchestrator", state, [child])


def _listens(card: ClusterCard, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((card.host, port), 2):
        return True
    return False


def _refuse_strangers(card: ClusterCard) -> None:
    """Nothing may listen in the head's block yet: workers may reach whatever does. Raises ClusterError."""
    if found := listeners(card.address.ports):
        raise ClusterError(
            f"the ports {card.base_port}-{card.base_port + 63} are the head's, but something listens there:"
            f" {'; '.join(map(describe, found[:3]))}. Stop it, or end this cluster with `aima down`: a new one takes"
            " other ports"
        )


def _start(settings: Settings, state: StateDir, card: ClusterCard, environment: Mapping[str, str]) -> None:
    _refuse_strangers(card)
    write_private(state.path / "settings.yaml", settings.model_dump_json())  # a database's URL may hold its password
    stores = storage_access(environment, settings.storage_uri, settings.queue_url, *settings.media.storage)
    access = {"cluster.orchestrator.process": access_variables(environment), "cluster.head.start": stores}
    children = [_spawn(state, card, module, own) for module, own in access.items()]
    _wait_until(lambda: is_ready(card), "the API", state, children)
    _wait_until(lambda: _listens(card, card.address.dashboard_port), "Ray's API for jobs", state, children)


def down(state: StateDir, say: Callable[[str], None] = lambda _line: None) -> bool:
    """End every instance, then the cluster itself; True when there was one. Raises ClusterError if a process stays."""
    card = state.read_card()
    if card is None:
        return False
    say("ending all instances")
    _drain(state, card)
    say("stopping the head and the orchestrator")
    remove(state, card)
    return True


def remove(state: StateDir, card: ClusterCard) -> None:
    """Stop every process of the cluster and forget its address. Raises ClusterError if one survives."""
    _stop_all(card, lambda: list(processes(card.cluster_id)))
    state.forget(card)


def _stop_all(card: ClusterCard, left: Callable[[], list[psutil.Process]], grace_s: float = _STOP_GRACE_S) -> None:
    for _round in range(_STOP_ROUNDS):  # what ends may just have started something
        alive = left()
        _started[:] = [child for child in _started if child.poll() is None]
        if not alive:
            return
        _stop(alive, grace_s)
    raise ClusterError(f"these processes of {card.cluster_id} do not end: {[p.pid for p in left()]}")


def _comes_back(state: StateDir, card: ClusterCard) -> bool:
    """Whether the API answers: at once or, while the head lives, within the time that Serve needs to start it anew."""
    deadline = time.monotonic() + _API_RESTART_S
    while not is_ready(card):
        head = head_processes(card.cluster_id, state.ray_dir(card.cluster_id))
        if time.monotonic() > deadline or not any("cluster.head.start" in words(process) for process in head):
            return False
        time.sleep(0.2)
    return True


def _first_block(settings: Settings) -> int:
    """Where the search for free ports begins: clusters that start at once must not all find the same ones free."""
    return zlib.crc32(str(settings.state_dir).encode()) % BLOCKS


def _new_card(settings: Settings) -> ClusterCard:
    address = first_free(_first_block(settings), is_free)
    port = settings.http.port or address.http_port
    if not can_bind(settings.http.host, port):
        raise ClusterError(
            f"http.port = {port} is in use on {settings.http.host}:"
            " set another in aima.yaml or AIMA_HTTP__PORT (0 picks one)"
        )
    return ClusterCard(
        cluster_id=f"aima-{secrets.token_hex(4)}",
        host=address.host,
        base_port=address.base_port,
        api_url=f"http://{settings.http.host}:{port}",
        orchestrator_url=f"http://{address.host}:{address.orchestrator_port}",
        started_at=time.time(),
    )


def _spawn(state: StateDir, card: ClusterCard, module: str, own: Mapping[str, str]) -> subprocess.Popen[bytes]:
    settings_path = state.path / "settings.yaml"
    environment = {**without_secrets(os.environ), "AIMA_CONFIG": str(settings_path), MARKER: card.cluster_id, **own}
    with _log_path(state, module).open("ab") as log:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", module],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _started.append(child)
    return child


def _log_path(state: StateDir, module: str) -> Path:
    return state.logs / f"{module.rsplit('.', 1)[1]}.log"


def _wait_until(ready: Callable[[], bool], what: str, state: StateDir, children: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not ready():
        for child in children:
            if child.poll() is not None:
                raise ClusterError(_last_words(state, str(child.args[-1])))  # type: ignore[index]
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not answer within {_READY_TIMEOUT_S:.0f} s; see {state.logs}")
        time.sleep(0.1)


def _last_words(state: StateDir, module: str) -> str:
    path = _log_path(state, module)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    return "\n".join([f"{module} ended while starting; the last lines of {path}:", *lines])


def _drain(state: StateDir, card: ClusterCard) -> None:
    headers = {"Authorization": f"Bearer {state.token('nodes')}"}
    try:
        httpx.post(f"{card.orchestrator_url}/v1/drain", headers=headers, timeout=_DRAIN_TIMEOUT_S).raise_for_status()
    except httpx.ConnectError:
        return  # the orchestrator is gone: its local workers end with every other process of the cluster
    except httpx.HTTPError as error:
        raise ClusterError(f"the orchestrator could not end all instances: {error}; see {state.logs}") from error


def _stop(everything: list[psutil.Process], grace_s: float) -> None:
    """SIGTERM to all, SIGKILL to whatever is left after the grace; with no grace, SIGKILL alone.

    Ray's GCS is killed first: it must not see how the others end (see supervisor.end_children).
    """
    for process in everything if grace_s else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _gone, alive = psutil.wait_procs(everything, timeout=grace_s)
    for process in sorted(alive, key=lambda process: not _is_gcs(process)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_STOP_GRACE_S)


def _is_gcs(process: psutil.Process) -> bool:
    return any(word.endswith(f"/{supervisor.GCS}") for word in words(process)[:1])
