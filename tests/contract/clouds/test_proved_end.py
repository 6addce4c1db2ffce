"""`aima down` says "0 instances" only when the clouds' own lists have proved it, whoever is dead, lost or silent."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.fakes.faults import Fault
from autoscaler.names import launch_name, new_cluster_id
from cluster.local import embedded
from cluster.local.ending import StillBilled
from cluster.local.processes import MARKER
from cluster.orchestrator import sweep
from tests.support.clouds.left_behind import LONG_AGO, LeftBehind
from tests.support.clouds.providers import RENTED, Rented, rented

# Vast.ai wants seconds between two calls of a kind.
TIMEOUT_S, FAILS_WITHIN_S = 30.0, 4.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_PAUSE_S", 0.05)


@pytest.fixture(params=RENTED)
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented(request.param, tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture
def left(tmp_path: Path) -> LeftBehind:
    left = LeftBehind(tmp_path)
    left.dead()
    return left


def down(left: LeftBehind, *checked_by_hand: str, timeout_s: float = TIMEOUT_S) -> embedded.Ended | None:
    return embedded.down(left.state, lambda _line: None, left.access, checked_by_hand, timeout_s)


def still_billed(left: LeftBehind) -> StillBilled:
    with pytest.raises(StillBilled) as caught:
        down(left, timeout_s=FAILS_WITHIN_S)
    return caught.value


def billing(cloud: Rented) -> list[str]:
    return [machine.name for machine in cloud.account.alive()]


def assert_still_known(left: LeftBehind, cloud: Rented, name: str, problem: StillBilled) -> None:
    """What is told, and what the next `down`, `sweep` or `up` finds."""
    machine = next(m for m in cloud.account.machines.values() if m.name == name)
    for word in ("NOT at zero", name, machine.machine_id, "USD/h", cloud.provider.name, "aima down"):
        assert word in str(problem)
    assert embedded.known_id(left.state) == left.cluster_id
    card = left.state.read_card()
    assert card is not None
    assert card.cluster_id == left.cluster_id
    assert left.entries()[name] == "bought"


def test_a_dead_orchestrator_s_machines_are_ended_by_the_clouds(left: LeftBehind, cloud: Rented) -> None:
    name = left.open_at(cloud)
    stranger = cloud.create(launch_name(new_cluster_id(), "gpu", "01234567")).name
    assert down(left) == embedded.Ended((cloud.provider.name,))
    assert billing(cloud) == [stranger]
    assert left.entries() == {name: "ended"}
    assert left.state.read_card() is None
    assert embedded.known_id(left.state) == left.cluster_id, "the installation keeps its id"
    asked = len(cloud.account.calls)
    assert down(left) is None
    assert len(cloud.account.calls) == asked


def test_a_machine_that_the_ledger_does_not_know_is_ended_by_its_name(left: LeftBehind, cloud: Rented) -> None:
    left.open_at(cloud)
    cloud.create(launch_name(left.cluster_id, "gpu", "0000beef"))
    assert down(left)
    assert billing(cloud) == []


def test_an_orchestrator_that_hangs_is_ended_before_the_clouds_are_asked(
    left: LeftBehind, runpod: Rented, monkeypatch: pytest.MonkeyPatch
) -> None:
    left.open_at(runpod)
    monkeypatch.setattr("cluster.local.ending._ANSWER_TIMEOUT_S", 0.3)
    hangs = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    command = [sys.executable, "-c", f"{hangs}; time.sleep(300)", "cluster.orchestrator.process"]
    with subprocess.Popen(command, env={MARKER: left.cluster_id}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        card = left.dead()
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        left.state.write_card(type(card)(**vars(card) | {"orchestrator_url": url}))
        try:
            assert down(left)
            assert process.poll() is not None
        finally:
            process.kill()
    assert billing(runpod) == []


@pytest.mark.parametrize("damage", ["lost", "", "{", "[]", "{}", '{"cluster_id": 1}', "\x00\xff"])
@pytest.mark.parametrize("id_is_kept", [True, False])
def test_a_lost_or_damaged_card_loses_no_machine(
    left: LeftBehind, runpod: Rented, damage: str, id_is_kept: bool
) -> None:
    left.open_at(runpod)
    if damage == "lost":
        left.state.card_path.unlink()
    else:
        left.state.card_path.write_text(damage)
    if not id_is_kept:  # as an older AIMA left it: the ledger's names tell
        left.state.installation_path.unlink()
    assert down(left)
    assert billing(runpod) == []


@pytest.mark.parametrize("fault", [Fault(on="list", hang_s=60.0, times=99), "F14-500", "F27"])
def test_a_cloud_that_gives_no_list_is_not_taken_for_empty(left: LeftBehind, cloud: Rented, fault: Fault | str) -> None:
    name = left.open_at(cloud)
    if isinstance(fault, Fault):
        cloud.account.faults.add(fault)
    elif fault in cloud.failures:
        cloud.account.faults.add(cloud.failures[fault].faults[0].model_copy(update={"on": "list", "times": 999}))
    else:
        cloud.account.faults.add(Fault(on="list", cut=True, times=999))
    assert_still_known(left, cloud, name, still_billed(left))
    assert name not in billing(cloud), "what is known by its id is ended without a list"
    cloud.account.faults.clear()
    assert down(left)
    assert left.entries() == {name: "ended"}


def test_without_a_key_it_says_so_and_keeps_what_it_knows(left: LeftBehind, cloud: Rented) -> None:
    name = left.open_at(cloud, with_key=False)
    with pytest.raises(StillBilled, match="needs an API key") as caught:
        down(left)
    assert_still_known(left, cloud, name, caught.value)
    assert billing(cloud) == [name]
    left.give_key(cloud)
    assert down(left)
    assert billing(cloud) == []


def test_every_cloud_at_which_the_ledger_ever_bought_has_to_be_asked(left: LeftBehind, cloud: Rented) -> None:
    left.enter(launch_name(left.cluster_id, "gpu", "01234567"), cloud.provider.name, "ended", ended_at=LONG_AGO)
    with pytest.raises(StillBilled, match=f"{cloud.provider.name}: .* needs an API key"):
        down(left)
    left.give_key(cloud)
    assert down(left) == embedded.Ended((cloud.provider.name,))


def test_a_person_who_has_looked_into_the_console_may_say_so(left: LeftBehind, cloud: Rented) -> None:
    name = left.open_at(cloud, with_key=False)
    assert down(left, cloud.provider.name) == embedded.Ended(())
    assert left.entries() == {name: "ended"}


def test_a_ledger_that_cannot_be_read_may_have_bought_anywhere(left: LeftBehind, cloud: Rented) -> None:
    name = left.open_at(cloud)
    left.state.ledger_path.write_bytes(b"no database at all")
    (other,) = set(RENTED) - {cloud.provider.name}
    with pytest.raises(StillBilled, match=f"{other}: .* needs an API key"):
        down(left)
    assert name not in billing(cloud)
    assert down(left, other) == embedded.Ended((cloud.provider.name,))


def test_a_ledger_of_an_older_aima_is_read(left: LeftBehind, runpod: Rented) -> None:
    left.open_at(runpod)
    with contextlib.closing(sqlite3.connect(left.state.ledger_path)) as connection:
        for column in ("listed_at", "ending_at", "accepted_usd_per_hour"):
            connection.execute(f"ALTER TABLE launch_intents DROP COLUMN {column}")
    assert down(left)
    assert billing(runpod) == []


def test_two_clouds_are_both_proved(left: LeftBehind, tmp_path: Path) -> None:
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        clouds = [stack.enter_context(rented(name, tmp_path, runner)) for name in RENTED]
        names = [left.open_at(cloud) for cloud in clouds]
        clouds[0].account.faults.add(Fault(on="list", cut=True, times=999))
        problem = str(still_billed(left))
        assert names[0] in problem
        assert names[1] not in problem, "it is proved to be gone"
        clouds[0].account.faults.clear()
        assert down(left) == embedded.Ended(tuple(sorted(RENTED)))
