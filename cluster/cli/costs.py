"""`aima costs`: what idling costs, what an analysis costs, and when something else would be cheaper;

and what was spent, by the ledger and by the clouds' own bills."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cluster.cli.terminal import ConfigOption, finish, open_client, say
from cluster.config.loader import load_settings
from cluster.config.state_directory import StateDir
from cluster.costs.model import Bill, GpuUse
from cluster.costs.report import Report, report
from cluster.local.embedded import ClusterError
from cluster.orchestrator.bills import check_directly

app = typer.Typer()
# Tables are Markdown on standard output, for documents; wide enough that no line of ours wraps.
_console = Console(width=140)
# A cloud's bill may take long to add up.
_BILLS_TIMEOUT_S = 180.0


@app.command()
def costs(
    prices: Annotated[Path | None, typer.Option(help="Price table to use instead (YAML).")] = None,
    configuration: Annotated[Path | None, typer.Option(help="Configuration to use instead (YAML).")] = None,
    gpu: Annotated[str, typer.Option(help="GPU, as the price table names it.")] = "RTX 4090",
    work_s: Annotated[float, typer.Option(min=0.001, help="Seconds of work per purchase.")] = 300.0,
    boot_s: Annotated[float, typer.Option(min=0, help="Billed seconds before the first work.")] = 25.0,
    tail_s: Annotated[float, typer.Option(min=0, help="Billed seconds after the last work.")] = 10.0,
    usd_per_eur: Annotated[
        float | None, typer.Option(min=0.01, help="Exchange rate (default: that of the price table).")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw a plot (PNG or SVG; needs the extra `plot`).")] = None,
    spent: Annotated[bool, typer.Option("--spent", help="Show what this cluster has spent instead.")] = False,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Compare the ledger with what the clouds have billed instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what a month of idling and an analysis cost, from a dated price table, beside the founding estimates."""
    if reconcile:
        bills = _bills(config)
        if not as_json:
            _print_bills(bills)
        finish({"bills": bills}, as_json, ok=not any(bill["error"] or bill.get("exceeds") for bill in bills))
        return
    if spent:
        with open_client(config) as client:
            told = client.costs()
        if not as_json:
            _print_spent(told)
        finish(told, as_json)
        return
    found = report(prices, configuration, gpu, GpuUse(boot_s, work_s, tail_s), usd_per_eur)
    if plot is not None:
        from cluster.costs.plot import draw  # noqa: PLC0415 - matplotlib is for those who draw

        draw(found, plot)
    if as_json:
        sys.stdout.write(json.dumps(found.to_json()) + "\n")
        return
    _console.print(f"Prices of {found.dated}; months of {found.hours_per_month:g} hours.\n")
    _print_summary(found)
    _print_comparison(found.to_json())
    for bill in (*found.estimates, *found.idle):
        _print_bill(bill)


def _bills(config: Path | None) -> list[dict[str, Any]]:
    """By the orchestrator, which has the clouds' keys; where none answers, by this process with the keys it finds."""
    settings = load_settings(config)
    state = StateDir(settings.state_dir)
    card = state.read_card()
    if card is not None:
        try:
            headers = {"Authorization": f"Bearer {state.token('nodes')}"}
            url = f"{card.orchestrator_url}/v1/bills:check"
            return list(httpx.post(url, headers=headers, timeout=_BILLS_TIMEOUT_S).raise_for_status().json()["bills"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            say(f"the orchestrator does not answer ({type(error).__name__}); asking the clouds from here")
    if not (state.path / "ledger.db").exists():
        raise ClusterError(f"there is no ledger in {state.path}: no cluster has bought anything from here")
    cluster_id = "" if card is None else card.cluster_id
    return check_directly(settings, state, cluster_id, os.environ, Path.home(), time.time)


def _print_bills(bills: Sequence[Mapping[str, Any]]) -> None:
    """The sums by cloud, then each machine that differs."""
    if not bills:
        _console.print("No cloud of this cluster sends bills: nothing was rented.")
        return
    table = Table(title="The last 35 days", title_justify="left", box=box.MARKDOWN)
    for name in ("cloud", "ledger, USD", "billed, USD", "differences, USD", "others on the account, USD"):
        table.add_column(name, justify="left" if name == "cloud" else "right")
    sums = ("ledger_usd", "billed_usd", "difference_usd", "others_usd")
    for bill in bills:
        known = bill["checked_at"] is not None
        table.add_row(bill["cloud"], *(f"{bill[name]:.4f}" if known else "unknown" for name in sums))
    _console.print(table)
    for bill in bills:
        if bill["error"]:
            _console.print(f"! {bill['cloud']}: {bill['error']}")
        if bill.get("skipped_rows"):
            what = f"{bill['skipped_rows']} rows of its bill cannot be read, such as {bill['skipped_example']}"
            _console.print(f"! {bill['cloud']}: {what}")
        for machine in bill["machines"]:
            billed = "nothing" if machine["billed_usd"] is None else f"{machine['billed_usd']:.4f} USD"
            what = f"{machine['name']} ({machine['instance_id']})"
            _console.print(f"  {what}: {machine['verdict']}: {billed}, the ledger has {machine['ledger_usd']:.4f} USD")


def _print_spent(told: Mapping[str, Any]) -> None:
    """By cloud and in all, against the limits; then what analyses have used of it."""
    table = Table(title=f"Since {told['since'][:10]}", title_justify="left", box=box.MARKDOWN)
    for name in ("machines of", "USD per hour, now", "USD today", "USD this month"):
        table.add_column(name, justify="left" if name == "machines of" else "right")
    for cloud, scope in (*told["by_cloud"].items(), ("all clouds", told)):
        limits = scope["limits"]
        cells = [
            _against(scope[what], limits[limit])
            for what, limit in (
                ("burn_usd_per_hour", "per_hour_usd"),
                ("day_usd", "per_day_usd"),
                ("month_usd", "per_month_usd"),
            )
        ]
        table.add_row(cloud, *cells)
    _console.print(table)
    each = "" if told["usd_per_media_minute"] is None else f", {told['usd_per_media_minute']:.4f} USD for each"
    minutes = f"{told['media_minutes']:.1f} minutes of media{each}"
    _console.print(f"Analyses have used {told['analyses_usd']:.4f} USD for {minutes}.")
    for key, usd in told["by_key"].items():
        _console.print(f"  key {key}: {usd:.4f} USD")
    for warning in told["warnings"]:
        _console.print(f"! {warning}")


def _against(usd: float | None, limit: float | None) -> str:
    return ("unknown" if usd is None else f"{usd:.4f}") + ("" if limit is None else f" of {limit:g}")


def _print_summary(found: Report) -> None:
    table = Table(title="A month of idling", title_justify="left", box=box.MARKDOWN)
    for name in ("configuration", "per month", f"USD (at {found.usd_per_eur:g} per EUR)"):
        table.add_column(name, justify="left" if name == "configuration" else "right")
    for bill in (*found.estimates, *found.idle):
        table.add_row(bill.title, f"{bill.per_month:.0f} {bill.currency}", f"{found.in_usd(bill):.0f}")
    _console.print(table)


def _print_bill(bill: Bill) -> None:
    table = Table(title=bill.title, title_justify="left", box=box.MARKDOWN)
    table.add_column("item")
    table.add_column(f"{bill.currency} per month", justify="right")
    table.add_column("price from")
    for item in bill.items:
        table.add_row(item.name, f"{item.per_month:.2f}", item.source)
    table.add_row("**together**", f"**{bill.per_month:.2f}**", "")
    _console.print(table)


def _print_comparison(found: Mapping[str, Any]) -> None:
    table = Table(title="On demand", title_justify="left", box=box.MARKDOWN)
    table.add_column("question")
    table.add_column("answer", justify="right")
    for question, answer in found["answers"].items():
        table.add_row(question, answer)
    _console.print(table)
