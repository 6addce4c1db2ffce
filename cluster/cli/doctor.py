"""`aima doctor`: looks at everything that could fail, before money is spent, and says how to mend it."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from rich.markup import escape

from autoscaler.errors import CloudStopped
from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish
from cluster.config.loader import load_settings
from cluster.config.schema import Settings
from cluster.doctor import checks
from cluster.doctor import probes as probes
from cluster.doctor.checks import CloudFacts, Finding, Verdict
from cluster.orchestrator import cloud_factory
from cluster.ray_patches.decision import warnings

app = typer.Typer()
_SIGNS = {Verdict.GOOD: "[green]✓[/]", Verdict.WARNING: "[yellow]![/]", Verdict.BAD: "[red]✗[/]"}
_STORAGE = "look at storage_uri: for S3 the endpoint, and where boto3 finds its credentials"
_DATABASE = "look at database_url, and whether the server runs and lets you in"


@app.command("doctor")
def examine(as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Check keys, offers, budgets, database, storage, clocks and versions; exit code 1 if something is bad."""
    settings = load_settings(config)
    found: list[Finding] = []
    for finding in _findings(settings):
        found.append(finding)
        _tell(finding)
    fit = checks.is_fit(found)
    bad = sum(finding.verdict is Verdict.BAD for finding in found)
    console.print("ready" if fit else f"{bad} problem{'s' if bad > 1 else ''} found", style="bold")
    finish({"ok": fit, "findings": [asdict(finding) for finding in found]}, as_json, ok=fit)


def _tell(finding: Finding) -> None:
    console.print(f"{_SIGNS[finding.verdict]} {finding.subject}: {escape(finding.detail)}", highlight=False)
    if finding.verdict is not Verdict.GOOD:
        console.print(f"    → {escape(finding.mend)}", highlight=False, style="cyan")


def _findings(settings: Settings) -> Iterator[Finding]:
    """Everything, as it is looked at. With an API elsewhere, only the way to it matters here."""
    if settings.api.url:
        yield checks.access_finding(settings.api.url, probes.look_at_access(settings))
        yield from checks.clock_findings({"the API": probes.clock_ahead_of_ours_s(settings.api.url, time.time)})
        return
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # as `aima up` makes it
    names = cloud_factory.cloud_names(settings)
    yield from checks.machine_findings(probes.look_at_machine(settings), works_here=cloud_factory.LOCAL in names)
    yield from checks.patch_findings(settings.ray.patches, warnings(settings.ray.patches, settings.ray.without_patches))
    database = probes.look_at_database(settings, time.time)
    yield checks.backend_finding(database, _DATABASE)
    yield checks.backend_finding(probes.look_at_storage(settings), _STORAGE)
    rented = cloud_factory.api_addresses(settings, os.environ)
    yield checks.reach_finding(settings.storage_uri, rented)
    clocks = {"the database": database.clock_ahead_s}
    clocks |= {name: probes.clock_ahead_of_ours_s(url, time.time) for name, url in rented.items()}
    yield from checks.clock_findings(clocks)
    yield from _clouds(settings, names)
    yield from checks.budget_findings(cloud_factory.budgets(settings), pays=bool(rented))


def _clouds(settings: Settings, names: Sequence[str]) -> Iterator[Finding]:
    """Each cloud by itself: one that refuses says nothing of the others."""
    for name in names:
        if name != cloud_factory.LOCAL:
            facts = asyncio.run(_ask(settings, name))
            yield from checks.cloud_findings(facts, cloud_factory.budgets(settings))


async def _ask(settings: Settings, name: str) -> CloudFacts:
    types = [t for t in cloud_factory.node_types(settings) if name in t.clouds]
    try:
        provider = cloud_factory.provider(name, settings, "aima-doctor", os.environ, Path.home(), time.time)
    except CloudStopped as error:
        return CloudFacts(name, str(error))
    try:
        return await probes.look_at_cloud(name, provider, types)
    finally:
        await provider.close()
