"""A whole cluster on this machine: two processes, the orchestrator and Ray's head, and whatever these start."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from autoscaler.names import new_cluster_id
from cluster.config.child_environment import storage_access, without_secrets
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir, write_private
from cluster.head.api_health import is_ready
from cluster.local import ending
from cluster.local.listening import describe
from cluster.local.processes import MARKER, head_processes, processes, words
from cluster.local.stopping import ClusterError as ClusterError
from cluster.local.stopping import started, stop_all
from cluster.orchestrator.cloud_factory import LOCAL, access_variables
from cluster.orchestrator.ledger_file import LedgerFacts, read_ledger
from cluster.overlay.addresses import BLOCKS, first_free
from cluster.overlay.ports import can_bind, is_free, listeners

_READY_TIMEOUT_S = 180.0  # a restarted head may wait for Serve first, and start once more then
_API_RESTART_S = 20.0
_REVIVALS = 2
_CLOUDS_TIMEOUT_S = 120.0
_ORCHESTRATOR = "cluster.orchestrator.process"


@dataclass(frozen=True)
class Ended:
    """There was a cluster, and it is gone. `lists_of`: the clouds beyond this machine whose good lists prove it."""

    lists_of: tuple[str, ...]


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
        state.keep_installation(running.cluster_id, ended=False)
        if _comes_back(state, running):
            if not _listens(running, running.address.orchestrator_port):
                say(f"the orchestrator of {running.cluster_id} has ended; restarting it. Ray keeps running")
                _start_orchestrator(state, running, environment)
            return running
        say(f"{running.cluster_id} is not responding; restarting its head. Its workers keep running")
        return _revive(settings, state, running, environment)
    _settle(state, say)
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
        stop_all(card.cluster_id, lambda: head_processes(card.cluster_id, state.ray_dir(card.cluster_id)), grace_s=0.0)
        state.forget_head(card.cluster_id)
        state.prepare()
        try:
            _start(settings, state, card, environment)
        except ClusterError as error:
            last = str(error)
        else:
            return card
    stop_all(card.cluster_id, lambda: head_processes(card.cluster_id, state.ray_dir(card.cluster_id)), grace_s=0.0)
    raise ClusterError(f"{last}\n`aima down` ends its workers and clears the way for a new cluster")


def _start_orchestrator(state: StateDir, card: ClusterCard, environment: Mapping[str, str]) -> None:
    """Start it with what the running cluster was told. Without it the API answers, but nothing is bought or ended."""
    child = _spawn(state, card, _ORCHESTRATOR, access_variables(environment))
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
    access = {_ORCHESTRATOR: access_variables(environment), "cluster.head.start": stores}
    children = [_spawn(state, card, module, own) for module, own in access.items()]
    _wait_until(lambda: is_ready(card), "the API", state, children)
    _wait_until(lambda: _listens(card, card.address.dashboard_port), "Ray's API for jobs", state, children)


def down(
    state: StateDir,
    say: Callable[[str], None] = lambda _line: None,
    access: ending.Access | None = None,
    checked_by_hand: Collection[str] = (),
    timeout_s: float = _CLOUDS_TIMEOUT_S,
) -> Ended | None:
    """End every instance, prove it, then end the cluster itself; None when there was none.

    `checked_by_hand`: clouds of which a person says that nothing is left there. Raises StillBilled, and then the id and
    the card stay; ClusterError if a process stays.
    """
    access = access or ending.Access(None, os.environ, Path.home())
    card, facts, cluster_id = state.read_card(), read_ledger(state.ledger_path), known_id(state)
    if card is None and not _left_behind(state, facts):
        return None
    say("ending all instances")
    drained = ending.drain(state, card, say)
    if not drained.answers:  # one that hangs must not buy while the clouds are asked
        stop_all(cluster_id, lambda: _orchestrators(cluster_id))
        facts = read_ledger(state.ledger_path)
    told, by_hand = ending.told_settings(state, access.settings), set(checked_by_hand)
    names = ending.to_ask(told, facts, drained.clouds, by_hand)
    swept = ending.end_by_clouds(names, cluster_id, told, access, facts, timeout_s, say) if names else {}
    if problem := ending.still_billed(cluster_id, swept, drained.answers):
        raise problem
    say("stopping the head and the orchestrator")
    stop_all(cluster_id, lambda: list(processes(cluster_id)))
    ending.write_off(state, {*names, *drained.clouds, *by_hand, LOCAL}, facts, say)
    state.keep_installation(cluster_id, ended=True)
    state.forget(cluster_id)
    return Ended(tuple(sorted({*names, *drained.clouds} - {LOCAL})))


def known_id(state: StateDir) -> str:
    """Whose machines are this directory's: by its card, by what was kept, by the ledger's names; "" in a new one."""
    card, kept = state.read_card(), state.installation()
    if card is not None:
        return card.cluster_id
    return kept.cluster_id if kept else next(iter(sorted(read_ledger(state.ledger_path).cluster_ids)), "")


def _left_behind(state: StateDir, facts: LedgerFacts) -> bool:
    """Whether anything may be left of a cluster whose card is gone."""
    kept, cluster_id = state.installation(), known_id(state)
    if cluster_id and next(processes(cluster_id), None) is not None:
        return True
    return not kept.ended if kept else bool(facts.open or facts.unreadable)


def _settle(state: StateDir, say: Callable[[str], None]) -> None:
    """Make the directory ready for a cluster that begins, with the id that it shares with those before it.

    What an earlier one has left is known by that id: its processes end, its machines come back by the ledger.
    """
    cluster_id = known_id(state) or new_cluster_id()
    stop_all(cluster_id, lambda: list(processes(cluster_id)))
    state.forget(cluster_id)
    state.prepare()
    state.keep_installation(cluster_id, ended=False)
    if left := [entry for entry in read_ledger(state.ledger_path).open if entry.cloud != LOCAL]:
        say(ending.told_of(tuple(left)))


def remove(state: StateDir, card: ClusterCard) -> None:
    """Stop every process of the cluster and forget its address. Raises ClusterError if one survives."""
    stop_all(card.cluster_id, lambda: list(processes(card.cluster_id)))
    state.forget(card.cluster_id)


def _orchestrators(cluster_id: str) -> list[psutil.Process]:
    return [process for process in processes(cluster_id) if words(process)[-1:] == [_ORCHESTRATOR]]


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
        cluster_id=known_id(StateDir(settings.state_dir)) or new_cluster_id(),
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
    started.append(child)
    return child


def _log_path(state: StateDir, module: str) -> Path:
    """By the package: cluster.head.start writes head.log."""
    return state.logs / f"{module.split('.')[1]}.log"


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
