"""`aima demo`, `up`, `down`, `env`: a cluster on this machine."""

import shlex
import sys
from typing import Annotated, Literal

import typer

from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish, say
from cluster.client import find_cluster, rendering
from cluster.client.progress import ProgressLine
from cluster.config.loader import load_settings
from cluster.config.schema import Settings
from cluster.config.state_directory import StateDir
from cluster.local import demo as demonstration
from cluster.local import embedded

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
def down(config: ConfigOption = None) -> None:
    """End every instance and stop the cluster; results and history stay."""
    settings = load_settings(config)
    if embedded.down(StateDir(settings.state_dir), say):
        console.print("0 instances, 0 processes; nothing is billed")
    else:
        console.print(f"no cluster runs in {settings.state_dir}")


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
