"""Analyses as a client sees them: what the database says, joined with what the fleet says."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select

from pipelines.media.addresses import shown
from serve_apps.analyses import (
    FINISHED,
    Busy,
    Lane,
    SegmentGroup,
    SegmentState,
    attribute_cost,
    boot_left_s,
    eta_s,
    progress,
    unreadable,
    waiting_reason,
)
from serve_apps.api.schemas import (
    AnalysisView,
    DeliveryView,
    ErrorView,
    FailedMedia,
    MediaResults,
    ProgressView,
    Results,
    SecondsView,
    WaitingView,
)
from serve_apps.results.json_pages import Item, Page, json_results
from serve_apps.results.objects import Objects
from serve_apps.results.parts import rows, tables
from serve_apps.store.analysis_store import Analysis, Part, Store
from serve_apps.store.tables import reading, webhook_deliveries
from serve_apps.work.estimates import Rates, estimate, rates
from serve_apps.work.pricing import Pricing


def describe(
    store: Store, fleet: Mapping[str, Any], analyses: Sequence[Analysis], pricing: Pricing
) -> list[AnalysisView]:
    """Views of analyses; a few queries, however many they are. `fleet` is the orchestrator's view.

    What has been erased meanwhile is left out.
    """
    current = describe_by_id(store, fleet, [analysis.id for analysis in analyses], pricing)
    return [current[analysis.id] for analysis in analyses if analysis.id in current]


def describe_by_id(
    store: Store, fleet: Mapping[str, Any], ids: Sequence[str], pricing: Pricing
) -> dict[str, AnalysisView]:
    """Views of those analyses that exist."""
    standing, now = store.standing(ids), store.now()
    known = rates(fleet, store.recent_work())
    costs = counted_costs(standing.busy, fleet)
    return {
        key: _view(analysis, standing.groups[key], fleet, _cost(analysis, costs), known, pricing, now)
        for key, analysis in standing.analyses.items()
    }


def counted_costs(busy: Sequence[Busy], fleet: Mapping[str, Any]) -> dict[str, float | None]:
    """USD by analysis; None for those on an instance that the fleet does not remember."""
    instances = fleet.get("instances", ())
    known = {instance["name"] for instance in instances}
    costs: dict[str, float | None] = dict(attribute_cost(busy, instances))
    return costs | {b.analysis_id: None for b in busy if b.busy_s > 0 and b.instance not in known}


def _error(analysis: Analysis) -> ErrorView | None:
    """Why it failed; what only keeps it from being planned is a reason to wait."""
    return ErrorView(**analysis.error) if analysis.error and analysis.state in FINISHED else None


def _cost(analysis: Analysis, counted: Mapping[str, float | None]) -> float | None:
    """What it costs by the fleet now; where the fleet has forgotten, what was counted while it knew."""
    now = counted.get(analysis.id, 0.0)
    return analysis.cost_usd if now is None else now


def _view(
    analysis: Analysis,
    groups: Sequence[SegmentGroup],
    fleet: Mapping[str, Any],
    cost_usd: float | None,
    known: Mapping[Lane, Rates],
    pricing: Pricing,
    now: float,
) -> AnalysisView:
    trouble = (analysis.error or {}).get("message", "")
    waiting = waiting_reason(fleet, analysis.state, groups, analysis.created_at, now, trouble)
    side_by_side = sum(g.count for g in groups if g.state is SegmentState.LEASED)
    speed = known[Lane.GPU].habits.segment_speed
    here, minutes = f"/v1/analyses/{analysis.id}", _media_minutes(groups)
    return AnalysisView(
        id=analysis.id,
        state=analysis.state.value,
        media=[shown(uri) for uri in analysis.media],
        analyzers=list(analysis.analyzers),
        options={name: dict(given) for name, given in analysis.options.items()},
        priority=analysis.priority,
        labels=dict(analysis.labels),
        created_at=iso(analysis.created_at),
        finished_at=_iso_or_none(analysis.finished_at),
        expires_at=_iso_or_none(analysis.expires_at),
        progress=ProgressView.model_validate(progress(groups), from_attributes=True),
        eta_s=eta_s(groups, now, slots=side_by_side, waiting_s=boot_left_s(waiting), speed=speed),
        waiting=None if waiting is None else WaitingView(**waiting),
        cost_usd=None if cost_usd is None else round(cost_usd, 6),
        usd_per_media_minute=None if cost_usd is None or not minutes else round(cost_usd / minutes, 6),
        estimate_usd=_estimate_usd(groups, known, pricing),
        budget_usd=analysis.budget_usd,
        webhook_url=None if analysis.webhook is None else shown(analysis.webhook["url"]),
        seconds=_seconds(analysis, now),
        error=_error(analysis),
        failed_media=failed_media(analysis),
        results=f"{here}/results",
        links={name: f"{here}{path}" for name, path in _LINKS.items()},
    )


_LINKS = {"self": "", "results": "/results", "events": "/events", "retry": "/retry", "webhooks": "/webhooks"}


def failed_media(analysis: Analysis) -> list[FailedMedia]:
    """Its media that have failed; while it runs, those that could not be read."""
    if analysis.error is not None and "failed_media" in analysis.error:
        return [FailedMedia(**failed) for failed in analysis.error["failed_media"]]
    unread = unreadable(analysis.info)
    return [FailedMedia(index=i, media=shown(analysis.media[i]), message=message) for i, message in unread.items()]


def _estimate_usd(groups: Sequence[SegmentGroup], known: Mapping[Lane, Rates], pricing: Pricing) -> float | None:
    if not groups:
        return None
    media_s: defaultdict[Lane, list[float]] = defaultdict(list)
    for group in groups:
        media_s[group.lane].append(group.media_s)
    return estimate(media_s, known, pricing).cost_usd


def _media_minutes(groups: Sequence[SegmentGroup]) -> float:
    """Minutes of media that are done; what both lanes looked at counts once."""
    seconds: defaultdict[Lane, float] = defaultdict(float)
    for group in groups:
        if group.state is SegmentState.DONE:
            seconds[group.lane] += group.media_s
    return max(seconds.values(), default=0.0) / 60


def _seconds(analysis: Analysis, now: float) -> SecondsView:
    created, first, end = analysis.created_at, analysis.first_frame_at, analysis.finished_at or now
    return SecondsView(
        queued=round((analysis.started_at or end) - created, 3),
        to_first_frame=None if first is None else round(first - created, 3),
        analysis=None if first is None else round(end - first, 3),
        total=round(end - created, 3),
    )


def iso(at: float) -> str:
    """Epoch seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _iso_or_none(at: float | None) -> str | None:
    return None if at is None else iso(at)


def results(objects: Objects, analysis: Analysis, parts: Sequence[Part], max_records: int) -> Results:
    """What has been found so far; at most `max_records` of each analyzer and media item. Reads the storage."""
    why = {failed.index: failed.message for failed in failed_media(analysis)}
    media = [
        MediaResults(
            uri=shown(uri), error=why.get(i), analyzers={name: [] for name in analysis.analyzers}, truncated={}
        )
        for i, uri in enumerate(analysis.media)
    ]
    totals: defaultdict[tuple[int, str], int] = defaultdict(int)
    for part, table in tables(objects, parts):
        found = media[part.media_index].analyzers[part.analyzer]
        found += rows(table.slice(0, max(0, max_records - len(found))))
        totals[part.media_index, part.analyzer] += table.num_rows
    for (index, analyzer), total in totals.items():
        if total > max_records:
            media[index].truncated[analyzer] = total
    return Results(
        id=analysis.id,
        state=analysis.state.value,
        error=_error(analysis),
        media=media,
        parts=[part.uri for part in parts],
    )


def results_as_json(objects: Objects, analysis: Analysis, parts: Sequence[Part], page: Page) -> Iterator[bytes]:
    """A page of the same, as JSON that is written while it is read."""
    why = {failed.index: failed.message for failed in failed_media(analysis)}
    error = _error(analysis)
    told: dict[str, Any] = {"id": analysis.id, "state": analysis.state.value, "parts": [part.uri for part in parts]}
    told["error"] = error.model_dump() if error else None
    items = [Item(shown(uri), why.get(index)) for index, uri in enumerate(analysis.media)]
    return json_results(objects, told, items, analysis.analyzers, parts, page)


def delivery_views(engine: Engine, analysis_id: str) -> list[DeliveryView]:
    """The calls of an analysis's webhook, oldest first."""
    d = webhook_deliveries.c
    chosen = select(webhook_deliveries).where(d.analysis_id == analysis_id).order_by(d.created_at)
    with reading(engine) as connection:
        return [
            DeliveryView(
                id=row.id,
                event=row.event,
                state=row.state,
                attempts=row.attempts,
                created_at=iso(row.created_at),
                next_at=_iso_or_none(row.next_at),
                delivered_at=_iso_or_none(row.delivered_at),
                last_status=row.last_status,
                last_error=row.last_error,
            )
            for row in connection.execute(chosen)
        ]


def export_line(analysis: Analysis) -> bytes:
    """An analysis as a line of the export; its webhook's secret stays here."""
    told = {
        "analysis_id": analysis.id,
        "state": analysis.state.value,
        "media": [shown(uri) for uri in analysis.media],
        "analyzers": list(analysis.analyzers),
        "options": analysis.options,
        "labels": analysis.labels,
        "created_at": iso(analysis.created_at),
        "finished_at": _iso_or_none(analysis.finished_at),
        "cost_usd": analysis.cost_usd,
        "error": analysis.error,
    }
    return (json.dumps(told) + "\n").encode()
