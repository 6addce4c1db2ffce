"""`aima costs`: what idling costs, what an analysis costs, and when something else would be cheaper."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cluster.costs import Bill, GpuUse
from cluster.costs_report import Report, report

app = typer.Typer()
# Tables are Markdown on standard output, for documents; wide enough that no line of ours wraps.
_console = Console(width=140)


@app.command()
def costs(
    prices: Annotated[Path | None, typer.Option(help="Another price table (YAML).")] = None,
    configuration: Annotated[Path | None, typer.Option(help="Another configuration (YAML).")] = None,
    gpu: Annotated[str, typer.Option(help="A GPU of the price table.")] = "RTX 4090",
    work_s: Annotated[float, typer.Option(min=0.001, help="Seconds of work per purchase.")] = 300.0,
    boot_s: Annotated[float, typer.Option(min=0, help="Billed seconds until a bought GPU works.")] = 25.0,
    tail_s: Annotated[float, typer.Option(min=0, help="Billed seconds after the last result.")] = 10.0,
    usd_per_eur: Annotated[float | None, typer.Option(min=0.01, help="Instead of the table's assumption.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it (PNG or SVG; needs the extra `plot`).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Show what a month of idling and an analysis cost, from a dated price table, beside the founding estimates."""
    found = report(prices, configuration, gpu, GpuUse(boot_s, work_s, tail_s), usd_per_eur)
    if plot is not None:
        from cluster.costs_plot import draw  # noqa: PLC0415 - matplotlib is for those who draw

        draw(found, plot)
    if as_json:
        sys.stdout.write(json.dumps(found.to_json()) + "\n")
        return
    _console.print(f"Prices of {found.dated}; months of {found.hours_per_month:g} hours.\n")
    _print_summary(found)
    _print_comparison(found.to_json())
    for bill in (*found.estimates, *found.idle):
        _print_bill(bill)


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
