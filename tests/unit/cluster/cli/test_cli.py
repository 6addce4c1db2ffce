"""The command line: its commands are there, and what goes wrong is one readable line."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli import main
from cluster.config.schema import Settings
from cluster.local import demo
from cluster.local.demo import DemoFailed
from cluster.orchestrator import overlay_server

COMMANDS = (
    "analyze",
    "cancel",
    "demo",
    "doctor",
    "down",
    "env",
    "estimate",
    "open",
    "results",
    "retry",
    "search",
    "status",
    "up",
)


def test_every_command_is_listed_and_explains_itself() -> None:
    listed = CliRunner().invoke(main.app, ["--help"]).output
    for command in COMMANDS:
        assert f" {command} " in listed
        assert CliRunner().invoke(main.app, [command, "--help"]).exit_code == 0


def test_without_a_cluster_a_line_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AIMA_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["aima", "status"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 3
    error = capsys.readouterr().err
    assert "no cluster runs in" in error
    assert "aima up" in error
    assert "Traceback" not in error


def test_a_demonstration_leaves_a_home_that_only_its_owner_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tell(own: Settings, *_rest: object) -> dict[str, Any]:
        own.state_dir.mkdir(parents=True)
        return {}

    monkeypatch.setattr(demo, "_tell", tell)
    home = tmp_path / "of" / "aima"
    demo.run(Settings(state_dir=home), lambda _: None, lambda _: None)
    assert home.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("isolation", "words"),
    [
        (("unshare", "--net", "--"), "a network of its own, with no other way out"),
        ((), "its network is this machine's"),
    ],
)
def test_a_demonstration_of_the_overlay_says_whether_it_is_one_of_a_separate_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolation: tuple[str, ...], words: str
) -> None:
    def run(settings: Settings, *_rest: object) -> None:
        assert settings.overlay.enabled
        raise DemoFailed("here this test ends")

    monkeypatch.setenv("AIMA_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(overlay_server, "isolation", lambda: isolation)
    monkeypatch.setattr(demo, "run", run)
    said = CliRunner().invoke(main.app, ["demo", "--overlay"]).output
    assert words in " ".join(said.split())


def test_the_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(main.app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"aima {version('aima-media')}\n")
