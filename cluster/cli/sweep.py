"""`aima sweep`: the machines, apart from any analysis."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import typer

from autoscaler.clouds.contract import CloudProvider
from autoscaler.clouds.local import Provider as LocalCloud
from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish, say
from cluster.config.loader import ConfigError, load_settings, state_dir_of
from cluster.config.schema import RENTED, Settings
from cluster.config.state_directory import StateDir
from cluster.head.api_health import is_ready
from cluster.local.embedded import known_id
from cluster.local.stopping import ClusterError
from cluster.orchestrator.cloud_factory import LOCAL, reachable, to_sweep
from cluster.orchestrator.ledger_file import LedgerFacts, read_ledger
from cluster.orchestrator.sweep import Swept, sweep_once

app = typer.Typer()
_ALIVE_EVERY_S = 5.0


@app.command()
def sweep(
    cluster_id: Annotated[
        str, typer.Option(help="Whose machines (default: those of the state directory's clusters).")
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

    Asks every cloud that the settings name, that has a key here, or at which the ledger ever bought. Exit code 1 when
    something is left, a cloud cannot be asked, or there is none to ask.
    """
    if unless_alive and _answers(unless_alive, patience_s):
        console.print(f"{unless_alive} answers: its cluster looks after its machines itself", highlight=False)
        finish({"alive": True, "clouds": {}}, as_json)
        return
    settings, state = _told(config)
    card, own_id = state.read_card(), known_id(state)
    if card is not None and cluster_id in ("", card.cluster_id) and is_ready(card) and not force:
        raise ClusterError(f"{card.cluster_id} is alive: `aima down` ends its machines (or sweep with --force)")
    cluster_id = cluster_id or own_id
    if not cluster_id:
        raise ClusterError(f"no cluster was left in {state.path}: say whose machines with --cluster-id")
    facts = read_ledger(state.ledger_path) if cluster_id == own_id else LedgerFacts()
    clouds = _clouds(settings, state, cluster_id, facts, is_own=cluster_id == own_id)
    console.print(f"{cluster_id}: asking {', '.join(clouds)}", highlight=False)
    swept = sweep_once(clouds, timeout_s, say, facts.open)
    _finish(cluster_id, swept, as_json)


def _told(config: Path | None) -> tuple[Settings, StateDir]:
    """The settings and the state directory; settings that cannot be used keep no machine alive."""
    try:
        settings = load_settings(config)
    except ConfigError as error:
        say(f"the settings cannot be used, so the clouds are those of the keys and of the ledger: {error}")
        return Settings(), StateDir(state_dir_of(config))
    return settings, StateDir(settings.state_dir)


def _clouds(
    settings: Settings, state: StateDir, cluster_id: str, facts: LedgerFacts, is_own: bool
) -> Mapping[str, CloudProvider]:
    """Whom to ask. This machine counts only for its own clusters: of another's it knows nothing."""
    bought_at = {*facts.clouds, *(RENTED if facts.unreadable else ())}
    if facts.unreadable:
        say(f"{facts.unreadable}: it may have bought at every cloud, and all are asked")
    names = to_sweep(settings, bought_at, os.environ, Path.home())
    made = reachable(sorted(names), settings, cluster_id, os.environ, Path.home(), time.time, facts.open)
    if not made and not is_own:
        raise ClusterError(
            f"nobody could be asked about {cluster_id}: there is no key of any cloud here, no ledger of it in"
            f" {state.path}, and the settings name no cloud but this machine. Set RUNPOD_API_KEY or VAST_API_KEY"
        )
    return made | {LOCAL: LocalCloud(cluster_id, lambda _request: [], state.logs, {})}


def _finish(cluster_id: str, swept: Mapping[str, Swept], as_json: bool) -> None:
    ended = sum(len(cloud.ended) for cloud in swept.values())
    missing = {name: cloud for name, cloud in swept.items() if not cloud.done}
    told = "NOT DONE" if missing else f"nothing is left, by good lists of {', '.join(swept)}"
    console.print(f"{cluster_id}: {ended} ended, {told}", highlight=False)
    for name, cloud in missing.items():
        console.print(f"  {name}: {cloud.unknown or 'machines are still listed'}", highlight=False)
        for entry in cloud.may_bill.values():
            console.print(f"    may still be billed: {entry}", highlight=False)
    report = {"alive": False, "asked": sorted(swept), "clouds": {name: cloud.view() for name, cloud in swept.items()}}
    finish(report, as_json, ok=not missing)


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
