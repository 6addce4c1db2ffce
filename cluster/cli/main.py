"""The `aima` command: its groups, and what its errors look like."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from autoscaler.errors import CloudError
from autoscaler.simulation.arrivals import TraceError
from autoscaler.simulation.run import PolicyError
from cluster.cli import analyses, costs, doctor, keys, local, simulate, status, sweep
from cluster.cli.terminal import EXIT_CODES, FAILED, NO_CLUSTER, REFUSED, console
from cluster.client import ApiError, NoCluster, Unreachable
from cluster.config.loader import ConfigError
from cluster.costs.model import PriceTableError
from cluster.local.demo import DemoFailed
from cluster.local.fake_cloud import FakeCloudError
from cluster.local.stopping import ClusterError
from cluster.storage.api_keys import NoSuchKey

app = typer.Typer(epilog=EXIT_CODES, no_args_is_help=True)
# Without a name: their commands are `aima`'s own.
for group in (local, analyses, status, doctor, costs, sweep, simulate, keys):
    app.add_typer(group.app)

# What a person can mend: one readable line instead of a traceback.
_CODES: dict[type[Exception], int] = {
    ApiError: REFUSED,
    CloudError: FAILED,
    ClusterError: FAILED,
    ConfigError: FAILED,
    DemoFailed: FAILED,
    FakeCloudError: FAILED,
    NoCluster: NO_CLUSTER,
    NoSuchKey: REFUSED,
    PolicyError: FAILED,
    PriceTableError: FAILED,
    TraceError: FAILED,
    Unreachable: NO_CLUSTER,
}
_READABLE = tuple(_CODES)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"aima {version('aima-media')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Media analysis on demand: GPUs only while there is work."""


def main() -> None:
    """Run the command; every error that is a person's to mend is one readable line and an exit code of its own."""
    try:
        app()
    except _READABLE as error:
        console.print(f"[bold red]aima:[/] {escape(str(error))}", highlight=False)
        sys.exit(next(code for kind, code in _CODES.items() if isinstance(error, kind)))
