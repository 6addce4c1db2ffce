"""The plot of `aima costs --plot`: idle months by provider, and what a month of purchases costs."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cluster.costs.report import Report

_POINTS = 60


def draw(report: Report, path: Path) -> None:
    """Draw both panels into `path`; its suffix (.png, .svg, .pdf) decides the format."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    idle, purchases = figure.subplots(1, 2)
    _draw_idle(idle, report)
    _draw_purchases(purchases, report)
    figure.savefig(path, dpi=120)


def _draw_idle(axes: Any, report: Report) -> None:
    bills = [*report.estimates, *report.idle]
    totals = [report.in_usd(bill) for bill in bills]
    labels = [
        bill.title.replace(" (", "\n(").replace(", ", "\n").replace("(founding ", "(founding\n") for bill in bills
    ]
    bars = axes.bar(labels, totals, color=["#b8b8b8"] * len(report.estimates) + ["#2b6cb0"] * len(report.idle))
    axes.bar_label(bars, fmt="%.0f")
    axes.set_ylabel("USD per month")
    axes.set_title(f"A month of idling (prices of {report.dated}, {report.usd_per_eur:g} USD per EUR assumed)", size=10)
    axes.tick_params(axis="x", labelsize=7)


def _draw_purchases(axes: Any, report: Report) -> None:
    most = report.purchases_break_even * 1.3
    counts = [most * (i + 1) / _POINTS for i in range(_POINTS)]
    each = report.use.cost_usd(report.usd_per_hour)
    axes.plot(counts, [each * n for n in counts], label="bought on demand, boot and tail included", color="#2b6cb0")
    if report.serverless_usd_per_hour is not None:
        per_work = report.serverless_usd_per_hour * report.use.work_s / 3600
        axes.plot(counts, [per_work * n for n in counts], label="serverless, work alone", color="#c05621")
    always = report.usd_per_hour * report.hours_per_month
    axes.axhline(always, label="never given back", color="#4a5568", linestyle="--")
    axes.axvline(report.purchases_break_even, color="#a0aec0", linewidth=0.8)
    axes.set_xlabel(f"purchases a month, {report.use.work_s:g} s of work each")
    axes.set_ylabel("USD per month")
    axes.set_title(f"{report.gpu} at {report.usd_per_hour:g} USD/h", size=10)
    axes.legend(fontsize=8)
