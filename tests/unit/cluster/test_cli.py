"""The command line: its commands are there, and what goes wrong is one readable line."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import cli

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
    listed = CliRunner().invoke(cli.app, ["--help"]).output
    for command in COMMANDS:
        assert f" {command} " in listed
        assert CliRunner().invoke(cli.app, [command, "--help"]).exit_code == 0


def test_without_a_cluster_a_line_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AIMA_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["aima", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    error = capsys.readouterr().err
    assert "no cluster runs in" in error
    assert "aima up" in error
    assert "Traceback" not in error
