"""`aima sweep` and `aima down` as commands: whom they ask, what they say, and how they end."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscaler.fakes.faults import Fault
from autoscaler.names import launch_name, new_cluster_id
from cluster.cli.main import main
from cluster.orchestrator import sweep
from tests.support.clouds.left_behind import LeftBehind
from tests.support.clouds.providers import Rented, rented

RENTING = "overlay: {enabled: true, image: worker}\nnode_types: {gpu: {clouds: [%s]}}\n"


@dataclass
class Shell:
    """Somebody's terminal: their home directory and variables, without any key but those of `left`."""

    left: LeftBehind
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str) -> tuple[int, str]:
        """The exit code, and everything that was said."""
        for name, value in self.left.environment.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.setattr(sys, "argv", ["aima", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = self.capsys.readouterr()
        return int(end.value.code or 0), " ".join(f"{said.err} {said.out}".split())

    def settings(self, text: str) -> None:
        Path("aima.yaml").write_text(f"state_dir: {self.left.state.path}\n{text}")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setattr(sweep, "_PAUSE_S", 0.05)
    monkeypatch.chdir(tmp_path)
    for name in ("RUNPOD_API_KEY", "VAST_API_KEY", "AIMA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    left = LeftBehind(tmp_path)
    monkeypatch.setenv("AIMA_STATE_DIR", str(left.state.path))
    return Shell(left, monkeypatch, capsys)


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        yield cloud


def billing(cloud: Rented) -> list[str]:
    return [machine.name for machine in cloud.account.alive()]


def test_with_a_key_and_an_id_alone_sweep_asks_that_cloud(shell: Shell, runpod: Rented) -> None:
    """No settings file, no ledger: as in a shell on another machine, after a disaster."""
    cluster_id, other = new_cluster_id(), launch_name(new_cluster_id(), "gpu", "01234567")
    for name in (launch_name(cluster_id, "gpu", "01234567"), other):
        runpod.create(name)
    shell.left.give_key(runpod)
    code, said = shell.run("sweep", "--cluster-id", cluster_id, "--json")
    assert code == 0, said
    assert f"{cluster_id}: asking runpod, local" in said
    assert "1 ended, nothing is left, by good lists of runpod, local" in said
    assert json.loads(said[said.index('{"alive"') :])["asked"] == ["local", "runpod"]
    assert billing(runpod) == [other]


def test_sweep_never_says_that_nothing_is_left_having_asked_nobody(shell: Shell) -> None:
    code, said = shell.run("sweep", "--cluster-id", new_cluster_id())
    assert code == 1
    assert "nobody could be asked" in said
    assert "RUNPOD_API_KEY" in said
    assert "nothing is left" not in said


def test_sweep_asks_where_the_ledger_has_bought_whatever_the_settings_say(shell: Shell, runpod: Rented) -> None:
    shell.left.dead()
    name = shell.left.open_at(runpod, with_key=False)
    shell.settings("node_types: {gpu: {clouds: [local]}}")
    code, said = shell.run("sweep")
    assert code == 1
    assert "NOT DONE" in said
    assert "runpod: RunPod needs an API key" in said
    assert f"may still be billed: {name} at runpod" in said
    shell.left.give_key(runpod)
    code, said = shell.run("sweep")
    assert code == 0, said
    assert billing(runpod) == []


@pytest.mark.parametrize("command", [("sweep", "--timeout-s", "2"), ("down", "--timeout-s", "2")])
def test_a_configured_cloud_that_cannot_be_asked_is_a_failure(shell: Shell, command: Sequence[str]) -> None:
    shell.left.dead()
    shell.settings(RENTING % "vastai")
    code, said = shell.run(*command)
    assert code == 1
    assert "Vast.ai needs an API key: set VAST_API_KEY" in said
    for lie in ("nothing is left", "0 instances", "nothing is billed"):
        assert lie not in said


@pytest.mark.parametrize("command", ["sweep", "down"])
def test_a_list_that_cannot_be_had_is_a_failure(shell: Shell, runpod: Rented, command: str) -> None:
    shell.left.dead()
    name = shell.left.open_at(runpod)
    runpod.account.faults.add(Fault(on="list", cut=True, times=999))
    code, said = shell.run(command, "--timeout-s", "2")
    assert code == 1
    assert f"may still be billed: {name} at runpod" in said
    assert "nothing is left" not in said
    runpod.account.faults.clear()
    assert shell.run(command)[0] == 0


@pytest.mark.parametrize("settings", ["scaling: {join_timeout_s: never}", "sclaing: {}", "a: [", "- a", "\x00"])
@pytest.mark.parametrize("command", ["sweep", "down"])
def test_settings_that_cannot_be_used_keep_no_machine_alive(
    shell: Shell, runpod: Rented, command: str, settings: str
) -> None:
    shell.left.dead()
    shell.left.open_at(runpod)
    shell.settings(settings)
    shell.monkeypatch.delenv("AIMA_STATE_DIR")
    code, said = shell.run(command)
    assert code == 0, said
    assert "the settings cannot be used" in said
    assert billing(runpod) == []


def test_settings_that_were_written_for_the_running_cluster_may_be_damaged_as_well(
    shell: Shell, runpod: Rented
) -> None:
    shell.left.dead()
    shell.left.open_at(runpod)
    (shell.left.state.path / "settings.yaml").write_text("{")
    code, said = shell.run("down")
    assert code == 0, said
    assert "0 instances, by good lists of runpod, 0 processes; nothing is billed" in said
    assert billing(runpod) == []


def test_a_cloud_that_this_aima_does_not_know_is_no_proof(shell: Shell) -> None:
    shell.left.dead()
    name = launch_name(shell.left.cluster_id, "gpu", "01234567")
    shell.left.enter(name, "mooncloud", "bought", instance_id="m-1", price_usd_per_hour=1.5)
    for command in ("sweep", "down"):
        code, said = shell.run(command)
        assert code == 1
        assert "no cloud is called 'mooncloud'" in said
        assert f"{name} at mooncloud (id m-1, 1.5 USD/h)" in said
    code, said = shell.run("down", "--checked-by-hand", "mooncloud")
    assert code == 0, said


@pytest.mark.parametrize("card", ["left", "lost"])
def test_status_tells_what_may_be_billed_though_no_cluster_answers(shell: Shell, card: str) -> None:
    if card == "left":
        shell.left.dead()
    else:
        shell.left.state.prepare()
    name = launch_name(shell.left.cluster_id, "gpu", "01234567")
    shell.left.enter(name, "runpod", "bought", instance_id="pod-1", price_usd_per_hour=0.74)
    code, said = shell.run("status")
    assert code == 3
    assert f"may still be billed: {name} at runpod (id pod-1, 0.74 USD/h); `aima down` ends it" in said
