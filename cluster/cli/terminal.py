"""What all commands share: the options, the console, the client, and how they end."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cluster.client import Client, ClientError, api_access
from cluster.config.loader import ConfigError, load_settings

# Exit codes; 2 is typer's own for a command that was written wrongly.
FAILED, NO_CLUSTER, REFUSED = 1, 3, 4
EXIT_CODES = """Exit codes: 0 done; 1 the analysis, one of its media or the command failed; 2 wrong usage; 3 no cluster,
or it does not answer; 4 the API refused the request."""

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
        raise typer.Exit(FAILED)


def open_client(config: Path | None) -> Client:
    """A client of the configured cluster. Raises NoCluster."""
    return Client(*api_access(load_settings(config)))


def known_ids(incomplete: str) -> list[tuple[str, str]]:
    """Ids for the shell to complete, each with its media; none when the cluster does not answer."""
    try:
        with open_client(None) as client:
            found = client.analyses(limit=50)["analyses"]
    except (ClientError, ConfigError):
        return []
    return [(view["id"], view["media"][0]) for view in found if view["id"].startswith(incomplete)]


AnalysisId = Annotated[str, typer.Argument(autocompletion=known_ids, help="Such as an_0123456789abcdef.")]
