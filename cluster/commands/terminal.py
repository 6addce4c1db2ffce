"""What all commands share: the options, the console, progress, and how they end."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from cluster import views
from cluster.client import Client, local_client
from cluster.config import load_settings

# People read standard error; standard output is for --json and for what is piped on.
console = Console(stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (default: ./aima.yaml).")]


def say(line: str) -> None:
    """One step of something that takes a while."""
    console.print(f"[dim]·[/] {line}", highlight=False)


def finish(report: Mapping[str, Any], as_json: bool, ok: bool = True) -> None:
    """End a command: its report as one line of JSON where asked for, exit code 1 where it is not `ok`."""
    if as_json:
        # Not through rich: a wrapped line is not JSON any more.
        sys.stdout.write(json.dumps(report) + "\n")
    if not ok:
        raise typer.Exit(1)


def open_client(config: Path | None) -> Client:
    """A client of the configured cluster. Raises NoCluster."""
    return local_client(load_settings(config).state_dir)


class Progress:
    """One line that changes while an analysis runs."""

    def __init__(self) -> None:
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._last = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def show(self, view: Mapping[str, Any]) -> None:
        """Show a view of the analysis; without a terminal, print a line whenever it says something new."""
        if console.is_terminal:
            if not self._live.is_started:
                self._live.start()
            self._live.update(views.progress_line(view))
            return
        line = views.one_line(view)
        if views.without_numbers(line) != views.without_numbers(self._last):
            console.print(f"  {line}", highlight=False)
            self._last = line
