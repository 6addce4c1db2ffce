"""`aima status` and `aima open`: what runs, what waits and why, what is billed; in the terminal or in a browser."""

import time
import webbrowser
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.live import Live

from cluster.cli.status_table import events_view, status_view, trouble_view
from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish, open_client
from cluster.client import Client, NoCluster, Unreachable, api_access
from cluster.config.loader import load_settings
from cluster.config.state_directory import StateDir, write_private
from cluster.orchestrator.ledger_file import read_ledger

app = typer.Typer()
_EVERY_S = 1.0


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Update the view until Ctrl-C.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Also show recent decisions and their reasons.")] = False,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Show what runs, what waits and why, and what is billed."""
    try:
        with open_client(config) as client:
            if watch:
                _watch(client)
                return
            report = _report(client)
    except (NoCluster, Unreachable):
        _tell_what_may_be_billed(config)
        raise
    console.print(status_view(report))
    if events:
        console.print(events_view(report))
    finish(report, as_json)


def _tell_what_may_be_billed(config: Path | None) -> None:
    """No cluster answers, but its ledger is here: machines that are not proved to be gone."""
    for entry in read_ledger(StateDir(load_settings(config).state_dir).ledger_path).open:
        console.print(f"may still be billed: {entry}; `aima down` ends it", highlight=False)


@app.command("open")
def open_page(
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the address instead. It contains the key: keep it secret.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Open the web page in a browser, without typing the key."""
    settings = load_settings(config)
    api_url, token = api_access(settings)
    address = f"{api_url}/#token={quote(token, safe='')}"
    if print_only:
        typer.echo(address)
        return
    # Through a private file: in a command line, everybody on this machine could read the key.
    door = settings.state_dir / "open.html"
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(door, f'<!doctype html><meta http-equiv="refresh" content="0;url={address}"><title>AIMA</title>\n')
    opened = webbrowser.open(door.as_uri())
    where = "opened" if opened else "no browser was found; open this in one on this machine:"
    console.print(f"{api_url}: {where}" if opened else f"{where} {door.as_uri()}", highlight=False)


def _report(client: Client) -> dict[str, Any]:
    return {"analyses": client.analyses()["analyses"], **client.instances()}


def _watch(client: Client) -> None:
    """Draw it every second; an API that is away for a while is told, not fatal."""
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                try:
                    live.update(status_view(_report(client)), refresh=True)
                except Unreachable as error:
                    live.update(trouble_view(str(error)), refresh=True)
                time.sleep(_EVERY_S)
        except KeyboardInterrupt:
            return
