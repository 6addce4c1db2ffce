"""`aima demo`, `up`, `down`, `env`: a cluster on this machine."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish, say
from cluster.client import find_cluster, rendering
from cluster.client.progress import ProgressLine
from cluster.config.loader import ConfigError, load_settings, state_dir_of
from cluster.config.schema import Settings
from cluster.config.state_directory import StateDir
from cluster.local import demo as demonstration
from cluster.local import embedded
from cluster.local.ending import Access

app = typer.Typer()


OverlayFlag = Annotated[
    bool,
    typer.Option("--overlay", help="Let the worker join through the overlay, in a network of its own if possible."),
]


@app.command()
def demo(
    cloud: Annotated[
        Literal["local", "runpod-fake", "vastai-fake"],
        typer.Option(help="Where the worker comes from. A fake cloud is a local server that rents out processes."),
    ] = "local",
    as_json: JsonFlag = False,
    overlay: OverlayFlag = False,
    config: ConfigOption = None,
) -> None:
    """Analyse a sample video on a cluster that starts from zero and returns to zero."""
    settings = load_settings(config)
    if overlay:
        settings = through_overlay(settings)
        if cloud == "local":
            say(how_it_joins())
    with ProgressLine(console) as progress:
        summary = demonstration.run(settings, say, progress.show, cloud)
    rendering.print_findings(console, summary.pop("findings"))
    rendering.print_bill(console, summary, summary["billed_s"])
    finish(summary, as_json)


@app.command()
def up(config: ConfigOption = None) -> None:
    """Start a cluster that stays until `aima down`."""
    card = embedded.up(load_settings(config), say)
    console.print(f"the API listens at {card.api_url} (documentation: {card.api_url}/docs)")


@app.command()
def down(
    checked_by_hand: Annotated[
        list[str] | None,
        typer.Option(help="A cloud whose console you have looked into: nothing of the cluster is there. Repeatable."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="How long clouds may take to prove that all has ended.")] = 120.0,
    config: ConfigOption = None,
) -> None:
    """End every instance, prove it by the clouds' own lists, and stop the cluster; results and history stay.

    Exit code 1 when it is not proved, with what may still be billed; then run it again.
    """
    try:
        settings = load_settings(config)
    except ConfigError as error:  # wrong settings keep no machine alive
        say(f"the settings cannot be used, which does not matter here: {error}")
        settings = None
    state = StateDir(settings.state_dir if settings else state_dir_of(config))
    access = Access(settings, os.environ, Path.home())
    ended = embedded.down(state, say, access, checked_by_hand or (), timeout_s)
    if ended is None:
        console.print(f"no cluster runs in {state.path}")
        return
    proof = f", by good lists of {', '.join(ended.lists_of)}" if ended.lists_of else ""
    console.print(f"0 instances{proof}, 0 processes; nothing is billed", highlight=False)


@app.command()
def env(config: ConfigOption = None) -> None:
    """Print the environment variables with which Ray's tools reach the cluster: eval "$(aima env)"."""
    state, card = find_cluster(load_settings(config).state_dir)
    variables = {
        "RAY_ADDRESS": f"http://{card.host}:{card.address.dashboard_port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_path("ray")),
    }
    for name, value in variables.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def through_overlay(settings: Settings) -> Settings:
    """The same, with every worker of this machine dialling in through the overlay."""
    own = settings.overlay.model_copy(update={"enabled": True, "isolate_local": True})
    return settings.model_copy(update={"overlay": own})


def how_it_joins() -> str:
    """What `--overlay` makes of a worker on this machine, in a sentence."""
    from cluster.orchestrator.overlay_server import isolation  # noqa: PLC0415 - needs asyncssh, which other commands do without

    way = "the worker will dial the overlay's hub, and everything between it and the head runs through that connection"
    if isolation():
        return f"{way}: it gets a network of its own, with no other way out"
    return f"{way}; its network is this machine's, since only root or user namespaces could give it one of its own"
