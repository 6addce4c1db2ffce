"""`aima simulate`: what a policy would make of days of work, before it costs anything."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from autoscaler.simulation.arrivals import SHIPPED, Arrival, read_trace
from autoscaler.simulation.run import FixedIdle, Outcome, parse_policy, simulate
from cluster.cli.terminal import JsonFlag, console, finish
from cluster.storage.database import open_engine

app = typer.Typer()
_DEFAULT_POLICIES = ("fixed:5", "fixed:60", "fixed:300")


@app.command("simulate")
def simulate_command(
    trace: Annotated[str, typer.Argument(help=f"{', '.join(SHIPPED)}, or a CSV file with the columns at_s,work_s.")],
    policy: Annotated[
        list[str] | None, typer.Option(help="How long idle workers are kept, as fixed:SECONDS. Repeat it to compare.")
    ] = None,
    max_count: Annotated[int, typer.Option(min=1, max=300, help="Maximum number of machines.")] = 4,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Also draw a plot (PNG or SVG; needs the extra `plot`).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Play a trace of requests through the real autoscaler on fake clouds and a fake clock."""
    arrivals = read_trace(trace)
    outcomes = [_play(arrivals, parse_policy(text), max_count, seed) for text in policy or _DEFAULT_POLICIES]
    console.print(_table(trace, outcomes))
    if plot is not None:
        from cluster.cli.simulation_plot import draw  # noqa: PLC0415 - matplotlib is for those who draw

        draw(trace, outcomes, plot)
        console.print(f"drawn: {plot}", highlight=False)
    finish({"trace": trace, "outcomes": [outcome.figures() for outcome in outcomes]}, as_json)


def _play(arrivals: Sequence[Arrival], policy: FixedIdle, max_count: int, seed: int) -> Outcome:
    engine, before = open_engine("sqlite://"), logging.root.manager.disable
    logging.disable(logging.WARNING)  # thousands of simulated decisions are no news of this machine
    try:
        return simulate(arrivals, policy, engine, max_count, seed=seed)
    finally:
        logging.disable(before)
        engine.dispose()


def _table(trace: str, outcomes: list[Outcome]) -> Table:
    first = outcomes[0].figures()
    table = Table(
        Column("", no_wrap=True),
        "USD",
        "GPU h",
        "useful",
        "bought",
        "wait s",
        "95 %",
        "longest",
        title=f"{trace}: {first['requests']} requests in {first['hours']:.0f} h",
        box=None,
        padding=(0, 2),
    )
    for outcome in outcomes:
        table.add_row(*_row(outcome.figures()))
    useful_h = first["useful_gpu_s"] / 3600
    table.add_row(f"always on: {first['peak_machines']}", f"{first['always_on_usd']:.2f}")
    table.add_row("serverless", f"{first['serverless_usd']:.2f}", f"{useful_h:.1f}", "100%")
    return table


def _row(figures: dict[str, Any]) -> list[str]:
    wait = figures["wait_s"]
    return [
        f"idle {figures['policy']}",
        f"{figures['cost_usd']:.2f}",
        f"{figures['billed_gpu_s'] / 3600:.1f}",
        f"{figures['useful_share']:.0%}",
        str(figures["launches"]),
        f"{wait['mean']:.0f}",
        f"{wait['p95']:.0f}",
        f"{wait['max']:.0f}",
    ]
