"""The plot of `aima simulate --plot`: what each policy bills and costs, how long requests wait, and a busy day."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from autoscaler.simulation.run import Outcome

_BILLED, _USEFUL = "#b8b8b8", "#2b6cb0"
_DAY_S = 86400.0


def draw(trace: str, outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw four panels into `path`; its suffix (.png, .svg, .pdf) decides the format."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    figure.suptitle(f"{trace}: {outcomes[0].requests} requests in {outcomes[0].span_s / 3600:.0f} h")
    (hours, money), (waits, day) = figure.subplots(2, 2)
    _draw_hours(hours, outcomes)
    _draw_money(money, outcomes)
    _draw_waits(waits, outcomes)
    _draw_day(day, outcomes[0])
    figure.savefig(path, dpi=120)


def _draw_hours(axes: Any, outcomes: Sequence[Outcome]) -> None:
    names = [outcome.policy for outcome in outcomes]
    bars = axes.bar(names, [o.billed_gpu_s / 3600 for o in outcomes], color=_BILLED, label="billed")
    axes.bar_label(bars, fmt="%.1f")
    axes.bar(names, [o.useful_gpu_s / 3600 for o in outcomes], color=_USEFUL, label="useful", width=0.5)
    axes.margins(y=0.2)
    axes.set_xlabel("idle workers are kept for")
    axes.set_ylabel("GPU hours")
    axes.set_title("Billed and useful hours", size=10)
    axes.legend(loc="upper left", ncols=2)


def _draw_money(axes: Any, outcomes: Sequence[Outcome]) -> None:
    figures = outcomes[0].figures()
    names = [*(outcome.policy for outcome in outcomes), "serverless\nper second", "always on"]
    costs = [*(outcome.cost_usd for outcome in outcomes), figures["serverless_usd"], figures["always_on_usd"]]
    bars = axes.bar(names, costs, color=[_USEFUL] * len(outcomes) + [_BILLED] * 2)
    axes.bar_label(bars, fmt="%.2f")
    axes.set_yscale("log")
    axes.margins(y=0.1)
    axes.set_ylabel("USD (log)")
    axes.set_title("Cost of the whole trace", size=10)


def _draw_waits(axes: Any, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        waits = sorted(outcome.waits_s)
        shares = [100 * (i + 1) / len(waits) for i in range(len(waits))]
        axes.plot(waits, shares, label=outcome.policy)
    axes.set_xlabel("seconds until a worker takes the request")
    axes.set_ylabel("% of requests")
    axes.set_title("Waiting times", size=10)
    axes.legend()


def _draw_day(axes: Any, outcome: Outcome) -> None:
    """The first day with work on it."""
    times = [at for at, machines, _busy in outcome.timeline if machines]
    start = (times[0] // _DAY_S) * _DAY_S if times else 0.0
    day = [moment for moment in outcome.timeline if start <= moment[0] < start + _DAY_S]
    hours = [(at - start) / 3600 for at, _machines, _busy in day]
    axes.fill_between(hours, [m for _at, m, _busy in day], step="post", color=_BILLED, label="machines billed")
    axes.fill_between(hours, [busy for _at, _m, busy in day], step="post", color=_USEFUL, label="at work")
    axes.set_xlabel("hour of the first day with work")
    axes.set_ylim(0, outcome.peak_machines + 1.5)
    axes.set_title(f"Machines, idle ones kept for {outcome.policy}", size=10)
    axes.legend(loc="upper left", ncols=2)
