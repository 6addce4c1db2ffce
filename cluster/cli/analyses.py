"""`aima analyze`, `estimate`, `results`, `search`, `cancel`, `retry`: media in, findings out."""

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.progress import Progress

from cluster.cli.terminal import AnalysisId, ConfigOption, JsonFlag, console, finish, open_client
from cluster.client import Client, api_access, rendering
from cluster.client.progress import ProgressLine
from cluster.config.loader import load_settings

app = typer.Typer()
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Media = Annotated[list[str], typer.Argument(help="Files, http(s) or s3 URLs, or upload ids.")]
Analyzers = Annotated[str, typer.Option(help="Analyzers, separated by commas; `aima analyzers` lists them.")]


class Form(StrEnum):
    """How records are written; insights: not record by record, but everything found with its ranges of time."""

    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    INSIGHTS = "insights"


@app.command()
def analyze(
    media: Media,
    analyzers: Analyzers = "labels,scenes",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the analysis has ended.")] = False,
    budget_usd: Annotated[float | None, typer.Option(help="Stop the analysis when it has cost this much.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=-10, max=10, help="From -10 to 10; higher priorities run first.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label as key=value; repeat it for more.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key and request give the same analysis.")
    ] = None,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Submit media for analysis. Local files are uploaded if the cluster runs on another machine."""
    conditions = {"budget_usd": budget_usd, "priority": priority, "labels": _labels(label or [])}
    api_url, token = api_access(load_settings(config))
    elsewhere = urlsplit(api_url).hostname not in _LOOPBACK
    with Client(api_url, token) as client:
        items = [_brought(client, item) if elsewhere and _is_file(item) else _absolute(item) for item in media]
        view = client.submit(items, _names(analyzers), key, **conditions)
        if wait:
            with ProgressLine(console) as line:
                for view in client.follow(str(view["id"])):  # noqa: B020 - the last view is the one to report
                    line.show(view)
            rendering.print_findings(console, client.results(view["id"]))
        console.print(f"{view['id']}: {rendering.one_line(view)}", highlight=False)
        finish(view, as_json, ok=view["state"] not in ("partial", "failed", "cancelled"))


@app.command()
def estimate(
    media: Media, analyzers: Analyzers = "labels,scenes", as_json: JsonFlag = False, config: ConfigOption = None
) -> None:
    """Estimate the time and cost of an analysis. Nothing is bought."""
    with open_client(config) as client:
        found = client.estimate([_absolute(item) for item in media], _names(analyzers))
    console.print(rendering.estimate_line(found), highlight=False)
    finish(found, as_json)


@app.command()
def results(
    analysis_id: AnalysisId,
    form: Annotated[Form | None, typer.Option("--format", help="Write all records in this format.")] = None,
    analyzer: Annotated[str | None, typer.Option(help="Only records of this analyzer; required for Parquet.")] = None,
    media: Annotated[int | None, typer.Option(min=0, help="Only this media item, counted from 0.")] = None,
    output: Annotated[Path | None, typer.Option(help="File to write to (default: standard output).")] = None,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Show what an analysis has found, or write it: as records in JSON, NDJSON or Parquet, or as insights, one JSON of
    a whole media item in which everything found has its ranges of time."""
    with open_client(config) as client:
        if form is not None:
            _write(_written(client, analysis_id, form, analyzer, media), output)
            return
        found = client.results(analysis_id, media_index=media, analyzer=analyzer)
    rendering.print_findings(console, found)
    finish(found, as_json)


@app.command()
def search(
    question: Annotated[str, typer.Argument(help='Such as "where is a dog", or invoice.')],
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Search all results: what was seen, said or written, and when."""
    with open_client(config) as client:
        found = client.search(question, limit=limit)
    rendering.print_hits(console, found)
    finish(found, as_json)


@app.command()
def cancel(
    analysis_id: AnalysisId,
    forever: Annotated[bool, typer.Option("--forever", help="Erase the analysis and its results for good.")] = False,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Cancel an analysis. Finished results are kept."""
    if forever:
        typer.confirm(f"Erase {analysis_id}, its results and its uploads for good?", abort=True)
    with open_client(config) as client:
        view = client.cancel(analysis_id, forever)
    console.print(f"{analysis_id}: {rendering.one_line(view) if view else 'erased'}", highlight=False)
    finish(view, as_json)


@app.command()
def retry(analysis_id: AnalysisId, as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Retry what failed or was cancelled. Finished results are kept."""
    with open_client(config) as client:
        view = client.retry(analysis_id)
    console.print(f"{analysis_id}: {rendering.one_line(view)}", highlight=False)
    finish(view, as_json)


@app.command()
def analyzers(as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """List the analyzers and their options."""
    with open_client(config) as client:
        found = client.analyzers()
    rendering.print_analyzers(console, found)
    finish(found, as_json)


def _written(client: Client, analysis_id: str, form: Form, analyzer: str | None, media: int | None) -> bytes:
    """What the analysis has found as the bytes of a file."""
    match form:
        case Form.NDJSON:
            return client.ndjson(analysis_id, analyzer, media)
        case Form.PARQUET:
            if analyzer is None:
                raise typer.BadParameter("a Parquet file has one schema: name the analyzer", param_hint="--analyzer")
            return client.parquet(analysis_id, analyzer, media)
        case Form.INSIGHTS:
            return _line(_insights(client, analysis_id, analyzer, media))
        case Form.JSON:
            return _line(client.results(analysis_id, media_index=media, analyzer=analyzer))


def _insights(client: Client, analysis_id: str, analyzer: str | None, media: int | None) -> dict[str, Any]:
    if media is None and (count := len(client.analysis(analysis_id)["media"])) > 1:
        told = f"insights are of one media item and {analysis_id} has {count}: name one, 0 to {count - 1}"
        raise typer.BadParameter(told, param_hint="--media")
    found = client.insights(analysis_id, media or 0)
    if analyzer is not None:
        found["insights"] = [insight for insight in found["insights"] if insight["analyzer"] == analyzer]
    return found


def _line(found: Mapping[str, Any]) -> bytes:
    return (json.dumps(found) + "\n").encode()


def _write(data: bytes, output: Path | None) -> None:
    if output is not None:
        output.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _brought(client: Client, item: str) -> str:
    """Upload a file, showing how much has been sent."""
    path = Path(item).expanduser()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"uploading {path.name}", total=path.stat().st_size)
        return client.upload(path, lambda sent: bar.update(task, completed=sent))


def _is_file(item: str) -> bool:
    return "://" not in item and Path(item).expanduser().is_file()


def _absolute(item: str) -> str:
    return item if "://" in item or item.startswith("up_") else str(Path(item).expanduser().resolve())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _labels(pairs: list[str]) -> dict[str, Any] | None:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r}: write key=value", param_hint="--label")
    return dict(pair.split("=", 1) for pair in pairs) or None
