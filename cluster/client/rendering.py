"""What people see in a terminal: progress, findings, status and the bill."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from serve_apps.search.terms import matches

_BAR_WIDTH = 28
# A price to compare a free local worker with: RunPod, RTX 4090, secure cloud, read on 2026-10-03.
_REFERENCE_GPU, _REFERENCE_USD_PER_HOUR = "RunPod RTX 4090", 0.74


def one_line(view: Mapping[str, Any]) -> str:
    """An analysis in a sentence: state, percent, ETA, or why it waits."""
    if view["state"] == "failed":
        return f"failed: {(view.get('error') or {}).get('message', 'no reason recorded')}"
    if view["state"] == "partial":
        failed = view["failed_media"]
        return f"partial: {len(failed)} of {len(view['media'])} media failed, the first by {failed[0]['message']}"
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
    """What each analyzer has found, with the times at which it was, and where the Parquet lies."""
    for item in results["media"]:
        console.print(f"\n[bold]{escape(item['uri'])}[/]", highlight=False)
        if item["error"]:
            console.print(f"[red]failed:[/] {escape(item['error'])}", highlight=False)
        for analyzer, records in item["analyzers"].items():
            if item["error"] and not records:
                continue  # what could not be read has no number of scenes
            if analyzer == "scenes":
                console.print(_scenes_line(records), highlight=False)
            elif any(named(record) for record in records):
                console.print(_seen_table(analyzer, records))
            else:
                console.print(f"{analyzer}: {len(records)} records", highlight=False)
    for part in results["parts"]:
        console.print(f"  Parquet: {part}", highlight=False, soft_wrap=True, markup=False)


def _seen_table(analyzer: str, records: Sequence[Mapping[str, Any]], rows: int = 8) -> Table:
    """The names that an analyzer gave most, and when."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, score in named(record):
            seen.setdefault(name, []).append((moment(record), score))
    table = Table(analyzer, "best score", "seen at", box=None, pad_edge=False, padding=(0, 2))
    for name, hits in sorted(seen.items(), key=lambda pair: -sum(score for _, score in pair[1]))[:rows]:
        times = ", ".join(f"{time_s:.1f} s" for time_s, _ in hits[:6]) + (" …" if len(hits) > 6 else "")
        table.add_row(escape(name), f"{max(score for _, score in hits):.2f}", times)
    return table


def named(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What one record names, with scores (1 where it has none): itself, or the best of its list of labels, or all
    elements of another list."""
    names = _all_named(record)
    return names[:1] if "labels" in record else names


def _all_named(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    lists = [value for value in record.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)]
    items: Sequence[Mapping[str, Any]] = lists[0] if lists else [record]
    return [(name, float(item.get("score", 1.0))) for item in items if (name := item.get("label") or item.get("text"))]


def moment(record: Mapping[str, Any]) -> float:
    """When in its media a record is, in seconds."""
    return float(record.get("time_s", record.get("start_s")) or 0.0)


def _scenes_line(records: Sequence[Mapping[str, Any]]) -> str:
    cuts = [record["time_s"] for record in records]
    times = ", ".join(f"{time_s:.1f} s" for time_s in cuts)
    return f"{len(cuts) + 1} scenes, cuts at {times}" if cuts else "1 scene"


def print_hits(console: Console, found: Mapping[str, Any]) -> None:
    """Where it was seen, said or written."""
    table = Table("analysis", "media", "at", "found", box=None, pad_edge=False, padding=(0, 2))
    for hit in found["hits"]:
        at = "" if hit["time_s"] is None else f"{hit['time_s']:.1f} s"
        names = [name for name, _score in _all_named(hit["record"])]
        meant = [name for name in names if any(matches(name, [term]) for term in found["terms"])]
        shown = ", ".join(meant or names)
        table.add_row(hit["analysis_id"], escape(hit["media"].rsplit("/", 1)[-1]), at, escape(shown))
    console.print(table if found["hits"] else f"nothing was found for: {' '.join(found['terms'])}", highlight=False)


def print_analyzers(console: Console, found: Mapping[str, Any]) -> None:
    """The analyzers, what they look for, and their options with what is allowed."""
    for one in found["analyzers"]:
        console.print(f"[bold]{one['name']}[/]  {escape(one['summary'])} ({one['lane']} worker)", highlight=False)
        for name, option in one["options"].items():
            console.print(f"    {name} = {option['default']}: {escape(option['allowed'])}", highlight=False)


def estimate_line(found: Mapping[str, Any]) -> str:
    """An estimate in a sentence, and what in it was assumed."""
    cost = "at a price that is not known yet" if found["cost_usd"] is None else f"for about {found['cost_usd']:.4f} USD"
    lines = [f"about {found['seconds']:.0f} s for {found['media_s']:.0f} s of media, {cost}"]
    lines += [f"  {item['uri']}: {item['problem']}" for item in found["media"] if item["problem"]]
    return "\n".join([*lines, *(f"  assumed: {assumption}" for assumption in found["assumptions"])])


def print_bill(console: Console, summary: Mapping[str, Any], billed_s: float) -> None:
    """What the demonstration cost, beside the cloud's own bill or what the same seconds cost elsewhere."""
    if own := summary.get("clouds_own_bill"):
        console.print(
            f"cost {summary['cost_usd']:.4f} USD for {billed_s:.0f} worker seconds;"
            f" the bill of {summary['cloud']}: {own['usd']:.4f} USD for {own['billed_s']:.0f} s,"
            f" {own['alive']} machines left",
            highlight=False,
        )
        return
    reference = billed_s / 3600 * _REFERENCE_USD_PER_HOUR
    console.print(
        f"cost {summary['cost_usd']:.4f} USD for {billed_s:.0f} worker seconds on this machine"
        f" (a {_REFERENCE_GPU} at {_REFERENCE_USD_PER_HOUR} USD/h: {reference:.4f} USD)",
        highlight=False,
    )
