"""Analyses as a client sees them: what the database says, joined with what the fleet says."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.sinks import read_parts
from serve_apps.analyses import (
    Busy,
    SegmentGroup,
    SegmentState,
    attribute_cost,
    boot_left_s,
    eta_s,
    progress,
    waiting_reason,
)
from serve_apps.schemas import (
    AnalysisView,
    ErrorView,
    MediaResults,
    ProgressView,
    Results,
    SecondsView,
    WaitingView,
)
from serve_apps.store import Analysis, Store


def describe(store: Store, fleet: Mapping[str, Any], analyses: Sequence[Analysis]) -> list[AnalysisView]:
    """Views of analyses; three queries, however many they are. `fleet` is the orchestrator's view."""
    ids = [analysis.id for analysis in analyses]
    groups, busy, speed, now = store.segment_groups(ids), store.busy(ids), store.observed_speed(), store.now()
    costs = _costs(busy, fleet)
    return [_view(a, groups[a.id], fleet, costs.get(a.id, 0.0), speed, now) for a in analyses]


def _costs(busy: Sequence[Busy], fleet: Mapping[str, Any]) -> dict[str, float | None]:
    """USD by analysis; None for those on an instance that the fleet does not remember."""
    instances = fleet.get("instances", ())
    known = {instance["name"] for instance in instances}
    costs: dict[str, float | None] = dict(attribute_cost(busy, instances))
    return costs | {b.analysis_id: None for b in busy if b.busy_s > 0 and b.instance not in known}


def _view(
    analysis: Analysis,
    groups: Sequence[SegmentGroup],
    fleet: Mapping[str, Any],
    cost_usd: float | None,
    speed: float | None,
    now: float,
) -> AnalysisView:
    waiting = waiting_reason(fleet, analysis.state, groups, analysis.created_at, now)
    side_by_side = sum(g.count for g in groups if g.state is SegmentState.LEASED)
    here = f"/v1/analyses/{analysis.id}"
    done = progress(groups)
    return AnalysisView(
        id=analysis.id,
        state=analysis.state.value,
        media=list(analysis.media),
        analyzers=list(analysis.analyzers),
        created_at=_iso(analysis.created_at),
        finished_at=None if analysis.finished_at is None else _iso(analysis.finished_at),
        progress=ProgressView.model_validate(done, from_attributes=True),
        eta_s=eta_s(groups, now, slots=side_by_side, waiting_s=boot_left_s(waiting), speed=speed),
        waiting=None if waiting is None else WaitingView(**waiting),
        cost_usd=None if cost_usd is None else round(cost_usd, 6),
        seconds=_seconds(analysis, now),
        error=None if analysis.error is None else ErrorView(**analysis.error),
        results=f"{here}/results",
        links={"self": here, "results": f"{here}/results", "events": f"{here}/events"},
    )


def _seconds(analysis: Analysis, now: float) -> SecondsView:
    created, first, end = analysis.created_at, analysis.first_frame_at, analysis.finished_at or now
    return SecondsView(
        queued=round((analysis.started_at or end) - created, 3),
        to_first_frame=None if first is None else round(first - created, 3),
        analysis=None if first is None else round(end - first, 3),
        total=round(end - created, 3),
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def results(store: Store, analysis: Analysis, storage_uri: str, max_records: int) -> Results:
    """What has been found so far; at most `max_records` of each analyzer and media item. Reads the storage."""
    return Results(
        id=analysis.id,
        state=analysis.state.value,
        media=[
            _media_results(f"{storage_uri.rstrip('/')}/analyses/{analysis.id}/{index:04d}", uri, analysis, max_records)
            for index, uri in enumerate(analysis.media)
        ],
        parts=[part.uri for part in store.parts(analysis.id)],
    )


def _media_results(directory: str, uri: str, analysis: Analysis, max_records: int) -> MediaResults:
    found = MediaResults(uri=uri, analyzers={}, truncated={})
    for analyzer in analysis.analyzers:
        try:
            table = read_parts(f"{directory}/{analyzer}")
        except FileNotFoundError:
            found.analyzers[analyzer] = []
            continue
        found.analyzers[analyzer] = table.slice(0, max_records).to_pylist()
        if table.num_rows > max_records:
            found.truncated[analyzer] = table.num_rows
    return found
