"""`aima analyze`, `results`: media in, findings out."""

from pathlib import Path
from typing import Annotated

import typer

from cluster import views
from cluster.commands.terminal import ConfigOption, JsonFlag, Progress, console, finish, open_client

app = typer.Typer()


@app.command()
def analyze(
    media: Annotated[list[str], typer.Argument(help="Files or http(s) URLs.")],
    analyzers: Annotated[str, typer.Option(help="Comma-separated.")] = "labels,scenes",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has ended.")] = False,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Submit media for analysis."""
    with open_client(config) as client:
        view = client.submit([_absolute(item) for item in media], [a.strip() for a in analyzers.split(",")])
        if wait:
            with Progress() as progress:
                for view in client.follow(str(view["id"])):  # noqa: B020 - the last view is the one to report
                    progress.show(view)
            views.print_findings(console, client.results(view["id"]))
        console.print(f"{view['id']}: {views.one_line(view)}", highlight=False)
        finish(view, as_json, ok=view["state"] != "failed")


@app.command()
def results(analysis_id: str, as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Show what an analysis has found, and where its Parquet lies."""
    with open_client(config) as client:
        found = client.results(analysis_id)
    views.print_findings(console, found)
    finish(found, as_json)


def _absolute(item: str) -> str:
    return item if "://" in item else str(Path(item).expanduser().resolve())
