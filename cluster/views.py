"""What people see in a terminal: progress, findings, status and the bill."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_BAR_WIDTH = 28
# A price to compare a free local worker with: RunPod, RTX 4090, secure cloud, read on 2026-10-03.
_REFERENCE_GPU, _REFERENCE_USD_PER_HOUR = "RunPod RTX 4090", 0.74


def one_line(view: Mapping[str, Any]) -> str:
    """An analysis in a sentence: state, percent, ETA, or why it waits."""
    if view["state"] == "failed":
        return f"failed: {(view.get('error') or {}).get('message', 'no reason recorded')}"
    if waiting := view.get("waiting"):
        return f"waiting {waiting['since_s']:.0f} s: {waiting['reason']}"
    progress = view["progress"]
    parts = [f"{view['state']} {progress['percent']:.0f} %"]
    if progress["segments_total"]:
        parts.append(f"{progress['segments_done']}/{progress['segments_total']} segments")
    if view.get("eta_s") is not None and view["state"] != "succeeded":
        parts.append(f"about {view['eta_s']:.0f} s left")
    return ", ".join(parts)


def without_numbers(line: str) -> str:
    """The sentence alone, so that a counting number is not news."""
    return re.sub(r"[\d.]+", "#", line)


def progress_line(view: Mapping[str, Any]) -> Text:
    """The same with a bar, for a live terminal."""
    filled = round(view["progress"]["percent"] / 100 * _BAR_WIDTH)
    return Text.assemble(("━" * filled, "green"), ("━" * (_BAR_WIDTH - filled), "dim"), " ", one_line(view))


def print_findings(console: Console, results: Mapping[str, Any]) -> None:
    """Labels with the times at which they were seen, scenes, and where the Parquet lies."""
    for item in results["media"]:
        console.print(f"\n[bold]{item['uri']}[/]", highlight=False)
        if records := item["analyzers"].get("labels"):
            console.print(_labels_table(records))
        if "scenes" in item["analyzers"]:
            console.print(_scenes_line(item), highlight=False)
    for part in results["parts"]:
        console.print(f"  Parquet: {part}", highlight=False, soft_wrap=True)


def _labels_table(records: Sequence[Mapping[str, Any]], rows: int = 8) -> Table:
    seen: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for label in record["labels"][:1]:
            seen.setdefault(label["label"], []).append((record["time_s"], label["score"]))
    table = Table("label", "best score", "seen at", box=None, pad_edge=False, padding=(0, 2))
    for name, hits in sorted(seen.items(), key=lambda pair: -sum(score for _, score in pair[1]))[:rows]:
        times = ", ".join(f"{time_s:.1f} s" for time_s, _ in hits[:6]) + (" …" if len(hits) > 6 else "")
        table.add_row(name, f"{max(score for _, score in hits):.2f}", times)
    return table


def _scenes_line(item: Mapping[str, Any]) -> str:
    cuts = [record["time_s"] for record in item["analyzers"]["scenes"]]
    times = ", ".join(f"{time_s:.1f} s" for time_s in cuts)
    return f"{len(cuts) + 1} scenes" + (f", cuts at {times}" if cuts else "")


def print_status(console: Console, report: Mapping[str, Any]) -> None:
    """Analyses, then machines, then money."""
    for view in report["analyses"]:
        console.print(f"{view['id']}  {one_line(view)}", highlight=False)
    if not report["analyses"]:
        console.print("no analysis has been asked for yet")
    live = [i for i in report["instances"] if i["state"] not in ("ended", "failed")]
    for instance in live:
        price = instance["price_usd_per_hour"] or 0.0
        console.print(f"{instance['name']}  {instance['phase']}, {price:g} USD/h", highlight=False)
    for cloud, reason in (report.get("degraded") or {}).items():
        console.print(f"[yellow]{cloud}: {reason}[/]", highlight=False)
    console.print(f"{len(live)} instances" + ("" if live else ", nothing is billed"))


def print_bill(console: Console, summary: Mapping[str, Any], billed_s: float) -> None:
    """What the demonstration cost, and what the same seconds cost elsewhere."""
    reference = billed_s / 3600 * _REFERENCE_USD_PER_HOUR
    console.print(
        f"cost {summary['cost_usd']:.4f} USD for {billed_s:.0f} worker seconds on this machine"
        f" (a {_REFERENCE_GPU} at {_REFERENCE_USD_PER_HOUR} USD/h: {reference:.4f} USD)",
        highlight=False,
    )
