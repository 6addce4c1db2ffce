"""`aima status`: what runs, what waits and why, what is billed."""

import typer

from cluster import views
from cluster.commands.terminal import ConfigOption, JsonFlag, console, finish, open_client

app = typer.Typer()


@app.command()
def status(as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Show what runs, what waits and why, and what is billed."""
    with open_client(config) as client:
        report = {"analyses": client.analyses()["analyses"], **client.instances()}
    views.print_status(console, report)
    finish(report, as_json)
