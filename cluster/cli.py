"""The `aima` command: its groups, and what its errors look like."""

import sys

import typer

from cluster.client import ApiError, NoCluster
from cluster.commands import analyses, costs, local, status
from cluster.commands.terminal import console
from cluster.config import ConfigError
from cluster.costs import PriceTableError
from cluster.demo import DemoFailed
from cluster.embedded import ClusterError

app = typer.Typer(help="Media analysis on demand: GPUs only while there is work.", no_args_is_help=True)
for group in (local, analyses, status, costs):  # without a name: their commands are `aima`'s own
    app.add_typer(group.app)

# What a person can mend: one readable line instead of a traceback.
_READABLE = (ApiError, ClusterError, ConfigError, DemoFailed, NoCluster, PriceTableError)


def main() -> None:
    """Run the command; every error that is a person's to mend is one readable line and exit code 1."""
    try:
        app()
    except _READABLE as error:
        console.print(f"[bold red]aima:[/] {error}", highlight=False)
        sys.exit(1)
