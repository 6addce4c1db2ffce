"""The `aima` command."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from cluster import demo as demonstration
from cluster import embedded, views
from cluster.client import ApiError, Client, NoCluster, find_cluster, local_client
from cluster.config import ConfigError, load_settings
from cluster.settings import Settings
from cluster.state import StateDir

app = typer.Typer(help="Media analysis on demand: GPUs only while there is work.", no_args_is_help=True)
_console = Console(stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (default: ./aima.yaml).")]


def main() -> None:
    """Run the command; every error that is a person's to mend is one readable line and exit code 1."""
    try:
        app()
    except (ApiError, ConfigError, NoCluster, embedded.ClusterError, demonstration.DemoFailed) as error:
        _console.print(f"[bold red]aima:[/] {error}", highlight=False)
        sys.exit(1)


@app.command()
def demo(as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Analyse a sample video on a cluster that starts from zero and returns to zero."""
    settings = load_settings(config)
    with _Progress() as progress:
        summary = demonstration.run(settings, _say, progress.show)
    views.print_findings(_console, summary.pop("findings"))
    views.print_bill(_console, summary, summary.pop("billed_s"))
    _finish(summary, as_json)


@app.command()
def up(config: ConfigOption = None) -> None:
    """Start a cluster that stays until `aima down`."""
    card = embedded.up(load_settings(config), _say)
    _console.print(f"the API listens at {card.api_url} (documentation: {card.api_url}/docs)")


@app.command()
def down(config: ConfigOption = None) -> None:
    """End every instance and stop the cluster; results and history stay."""
    settings = load_settings(config)
    if embedded.down(StateDir(settings.state_dir), _say):
        _console.print("0 instances, 0 processes; nothing is billed")
    else:
        _console.print(f"no cluster runs in {settings.state_dir}")


@app.command()
def analyze(
    media: Annotated[list[str], typer.Argument(help="Files or http(s) URLs.")],
    analyzers: Annotated[str, typer.Option(help="Comma-separated.")] = "labels,scenes",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has ended.")] = False,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Submit media for analysis."""
    with _client(config) as client:
        view = client.submit([_absolute(item) for item in media], [a.strip() for a in analyzers.split(",")])
        if wait:
            with _Progress() as progress:
                for view in client.follow(str(view["id"])):  # noqa: B020 - the last view is the one to report
                    progress.show(view)
            views.print_findings(_console, client.results(view["id"]))
        _console.print(f"{view['id']}: {views.one_line(view)}", highlight=False)
        _finish(view, as_json, ok=view["state"] != "failed")


@app.command()
def status(as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Show what runs, what waits and why, and what is billed."""
    with _client(config) as client:
        report = {"analyses": client.analyses()["analyses"], **client.instances()}
    views.print_status(_console, report)
    _finish(report, as_json)


@app.command()
def results(analysis_id: str, as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Show what an analysis has found, and where its Parquet lies."""
    with _client(config) as client:
        found = client.results(analysis_id)
    views.print_findings(_console, found)
    _finish(found, as_json)


@app.command()
def env(config: ConfigOption = None) -> None:
    """Print the variables that Ray's own tools need to reach the cluster: eval "$(aima env)"."""
    state, card = find_cluster(_settings_dir(config))
    variables = {
        "RAY_ADDRESS": f"http://{card.host}:{card.address.dashboard_port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_path("ray")),
    }
    for name, value in variables.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


class _Progress:
    """One line that changes while an analysis runs."""

    def __init__(self) -> None:
        self._live = Live(console=_console, refresh_per_second=8, transient=False)
        self._last = ""

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def show(self, view: Mapping[str, Any]) -> None:
        """Show a view of the analysis; without a terminal, print a line whenever it says something new."""
        if _console.is_terminal:
            if not self._live.is_started:
                self._live.start()
            self._live.update(views.progress_line(view))
            return
        line = views.one_line(view)
        if views.without_numbers(line) != views.without_numbers(self._last):
            _console.print(f"  {line}", highlight=False)
            self._last = line


def _client(config: Path | None) -> Client:
    return local_client(_settings_dir(config))


def _settings_dir(config: Path | None) -> Path:
    settings: Settings = load_settings(config)
    return settings.state_dir


def _absolute(item: str) -> str:
    return item if "://" in item else str(Path(item).expanduser().resolve())


def _say(line: str) -> None:
    _console.print(f"[dim]·[/] {line}", highlight=False)


def _finish(report: Mapping[str, Any], as_json: bool, ok: bool = True) -> None:
    if as_json:
        # Not through rich: a wrapped line is not JSON any more.
        sys.stdout.write(json.dumps(report) + "\n")
    if not ok:
        raise typer.Exit(1)
