"""`aima sweep`: the machines, apart from any analysis."""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer

from autoscaler.clouds.local import Provider as LocalCloud
from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish, say
from cluster.config.loader import load_settings
from cluster.config.state_directory import StateDir
from cluster.head.api_health import is_ready
from cluster.local.embedded import ClusterError
from cluster.orchestrator.cloud_factory import providers
from cluster.orchestrator.sweep import sweep as sweep_clouds

app = typer.Typer()
_ALIVE_EVERY_S = 5.0


@app.command()
def sweep(
    cluster_id: Annotated[
        str, typer.Option(help="Whose machines (default: the cluster left in the state directory).")
    ] = "",
    timeout_s: Annotated[float, typer.Option(help="Give up after this many seconds.")] = 600.0,
    unless_alive: Annotated[
        str, typer.Option(help="Do nothing if this URL answers, such as the API's health route.")
    ] = "",
    patience_s: Annotated[
        float, typer.Option(help="How long to wait for that URL before the cluster counts as dead.")
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="End the machines even if the cluster is alive.")] = False,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """End everything that a cluster has rented, without its head and database (for a CronJob, or after a disaster).

    Exit code 1 when something is left, or a cloud cannot be asked.
    """
    settings = load_settings(config)
    if unless_alive and _answers(unless_alive, patience_s):
        console.print(f"{unless_alive} answers: its cluster looks after its machines itself", highlight=False)
        finish({"alive": True, "clouds": {}}, as_json)
        return
    state = StateDir(settings.state_dir)
    card = state.read_card()
    if card is not None and cluster_id in ("", card.cluster_id) and is_ready(card) and not force:
        raise ClusterError(f"{card.cluster_id} is alive: `aima down` ends its machines (or sweep with --force)")
    cluster_id = cluster_id or (card.cluster_id if card else "")
    if not cluster_id:
        raise ClusterError(f"no cluster was left in {state.path}: say whose machines with --cluster-id")

    def local() -> LocalCloud:
        return LocalCloud(cluster_id, lambda _request: [], state.logs, {})

    clouds = providers(settings, cluster_id, os.environ, Path.home(), time.time, local)
    swept = asyncio.run(sweep_clouds(clouds, timeout_s, say))
    done = all(cloud.done for cloud in swept.values())
    ended = sum(len(cloud.ended) for cloud in swept.values())
    console.print(f"{cluster_id}: {ended} ended, " + ("nothing is left" if done else "NOT DONE"), highlight=False)
    finish({"alive": False, "clouds": {name: cloud.view() for name, cloud in swept.items()}}, as_json, ok=done)


def _answers(url: str, patience_s: float) -> bool:
    """Whether it answers well within so many seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if httpx.get(url, timeout=5).is_success:
                return True
        except httpx.HTTPError:
            pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(_ALIVE_EVERY_S)
