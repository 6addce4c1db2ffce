"""What `aima status` shows: analyses with their progress, machines with their price, money against its limits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.client.rendering import one_line, progress_line

_GONE = ("ended", "failed")
_STYLES = {"queued": "yellow", "running": "cyan", "succeeded": "green", "partial": "yellow"}
_STYLES |= {"failed": "red", "cancelled": "dim"}
_SHOWN_FINISHED = 5
_ALL = "all clouds"


def status_view(report: Mapping[str, Any]) -> RenderableType:
    """The whole report: {"analyses": [views], **the fleet's view}."""
    live = [i for i in report["instances"] if i["state"] not in _GONE]
    troubles = [f"{cloud}: {reason}" for cloud, reason in (report.get("degraded") or {}).items()]
    troubles += (report.get("spending") or {}).get("warnings", [])
    troubles += report.get("ray_warnings") or []
    return Group(
        _analyses(report["analyses"]),
        _machines(live) if live else Text(""),
        *(Text(f"! {trouble}", style="yellow") for trouble in troubles),
        _money(live, report.get("spending") or {}),
    )


def events_view(report: Mapping[str, Any]) -> RenderableType:
    """The latest decisions about machines, clouds and budgets, each in a sentence, the newest last."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    for event in report.get("events") or ():
        at = datetime.fromtimestamp(event["at"], UTC).astimezone()
        table.add_row(Text(f"{at:%H:%M:%S}", style="dim"), Text(event["name"]), Text(event["sentence"]))
    return table


def trouble_view(reason: str) -> RenderableType:
    """In its place when the API is away."""
    return Text(f"! {reason}; trying again", style="yellow")


def _analyses(analyses: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Everything that goes on, then the latest that has ended."""
    going_on = [view for view in analyses if view["state"] in ("queued", "running")]
    ended = [view for view in analyses if view["state"] not in ("queued", "running")][:_SHOWN_FINISHED]
    if not going_on and not ended:
        return Text("no analysis has been asked for yet", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, max_width=32, overflow="ellipsis")
    table.add_column()
    for view in (*going_on, *ended):
        name = view["media"][0].rsplit("/", 1)[-1] + (f" +{len(view['media']) - 1}" if len(view["media"]) > 1 else "")
        how = progress_line(view) if view["state"] == "running" and not view["waiting"] else Text(one_line(view))
        cost = "" if view.get("cost_usd") is None else f"{view['cost_usd']:.4f} USD"
        table.add_row(Text(view["id"], style=_STYLES.get(view["state"], "")), Text(name), how, Text(cost, style="dim"))
    return table


def _machines(live: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("machine", "what it does", "USD/h", "USD/s", "billed", box=None, pad_edge=False, padding=(0, 2))
    for instance in live:
        price = instance["price_usd_per_hour"]
        per_hour, per_second = ("?", "?") if price is None else (f"{price:g}", f"{price / 3600:.6f}")
        billed = f"{instance['cost_usd']:.4f} USD in {instance['billed_s']:.0f} s"
        table.add_row(Text(instance["name"]), Text(instance["phase"]), per_hour, per_second, billed)
    return table


def _money(live: Sequence[Mapping[str, Any]], spending: Mapping[str, Any]) -> Text:
    """What is billed now, and of the month; what a limit does, where there is one."""
    per_second = sum((i["price_usd_per_hour"] or 0.0) for i in live) / 3600
    line = f"{len(live)} instances" + (f", {per_second:.6f} USD/s" if live else ", nothing is billed")
    month = (spending.get("scopes") or {}).get(_ALL, {}).get("month_usd")
    limit = (spending.get("limits") or {}).get(_ALL, {}).get("per_month_usd")
    if month is not None:
        line += f"; this month {month:.2f} USD" + (f" of {limit:g}" if limit is not None else "")
    limited = any(value is not None for value in (spending.get("limits") or {}).get(_ALL, {}).values())
    rule = f"\n{spending['at_a_limit']}" if limited and spending.get("at_a_limit") else ""
    return Text.assemble((line, "bold"), (rule, "dim"))
