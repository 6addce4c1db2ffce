"""/v1/estimates and /v1/analyzers: what there is to be had, and what it may cost, before it is asked for."""

import asyncio
from collections import defaultdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from pipelines.media.addresses import shown
from serve_apps.analyses import Lane
from serve_apps.api.analyzer_catalog import AnalyzerInfo
from serve_apps.api.context import Service
from serve_apps.api.problems import PROBLEM_RESPONSES
from serve_apps.api.schemas import AnalysisRequest, AnalyzerChoice, AnalyzerList, UriList
from serve_apps.store.keys import ApiKey, Scope
from serve_apps.work.estimates import estimate, rates
from serve_apps.work.prober import Prober

_PROBED_AT_MOST = 20
_PROBE_FOR_S = 10.0


class EstimateRequest(BaseModel):
    """What might be asked for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"media": "https://example.org/a.mp4"}]})

    media: UriList
    analyzers: AnalyzerList = [AnalyzerChoice(name="labels"), AnalyzerChoice(name="scenes")]


class MediaEstimate(BaseModel):
    """One media item: its duration, or why that is not known."""

    uri: str
    duration_s: float | None
    problem: str | None


class EstimateView(BaseModel):
    """From request to end `seconds`; `machine_s` are billed. `cost_usd` is null while no price is known.

    `assumptions` names what was not measured here yet, and media items whose duration is taken from the others.
    """

    media: list[MediaEstimate]
    media_s: float
    seconds: float
    machine_s: float
    cost_usd: float | None
    assumptions: list[str]


class OptionView(BaseModel):
    """One option of an analyzer."""

    default: Any
    allowed: str


class AnalyzerView(BaseModel):
    """One analyzer: on which kind of worker (`lane`) it runs, what it takes, and its options."""

    name: str
    summary: str
    lane: Lane
    takes: str
    options: dict[str, OptionView]


class AnalyzersView(BaseModel):
    """All analyzers."""

    analyzers: list[AnalyzerView]


def routes(service: Service, prober: Prober) -> APIRouter:
    """The router."""
    router = APIRouter(
        prefix="/v1",
        tags=["service"],
        dependencies=[Depends(service.gate.requires(Scope.READ))],
        responses=PROBLEM_RESPONSES,
    )

    reader = Annotated[ApiKey, Depends(service.gate.requires(Scope.READ))]

    @router.get("/analyzers")
    async def analyzers() -> AnalyzersView:
        """Which analyzers there are, and their options."""
        return AnalyzersView(analyzers=[_analyzer(info) for info in service.catalog.analyzers.values()])

    @router.post("/estimates")
    async def estimates(request: EstimateRequest, key: reader) -> EstimateView:
        """What an analysis would take and cost, by what was measured here. Reads the media's headers only."""
        asked = AnalysisRequest(media=request.media, analyzers=request.analyzers)
        media, names, _options = await service.door.run(key.id, partial(service.checked, asked, key))
        probed = await _probe(prober, media, key.id)
        work = await asyncio.to_thread(service.store.recent_work)
        known = rates(await service.fleet(), work, names)
        return _estimate(service, request.media, probed, names, known)

    return router


async def _probe(prober: Prober, media: list[str], key: str) -> list[float | str]:
    """Each item's duration in seconds, or why it is not known; the first items only, side by side, for ten seconds."""
    tasks = [asyncio.create_task(prober.duration_s(uri, key)) for uri in media[:_PROBED_AT_MOST]]
    await asyncio.wait(tasks, timeout=_PROBE_FOR_S)
    found = [_found(task) for task in tasks]
    return found + ["not looked at"] * (len(media) - len(tasks))


def _found(task: asyncio.Task[float]) -> float | str:
    if not task.done():
        task.cancel()
        return "its header could not be read in time"
    try:
        return task.result()
    except ValueError as error:
        return str(error)


def _estimate(
    service: Service, named: list[str], probed: list[float | str], names: list[str], known: Any
) -> EstimateView:
    durations = [item for item in probed if isinstance(item, float)]
    usual_s = sum(durations) / len(durations) if durations else 0.0
    every = [item if isinstance(item, float) else usual_s for item in probed if item]
    media_s: defaultdict[Lane, list[float]] = defaultdict(list)
    for lane in {service.catalog.lane_of(name) for name in names}:
        media_s[lane] = every
    total = estimate(media_s, known, service.pricing)
    unknown = len(probed) - len(durations)
    assumptions = [*total.assumed, *([f"{unknown} media items last as long as the others"] if unknown else [])]
    return EstimateView(
        media=[
            MediaEstimate(
                uri=shown(uri),
                duration_s=item if isinstance(item, float) else None,
                problem=item if isinstance(item, str) else None,
            )
            for uri, item in zip(named, probed, strict=True)
        ],
        media_s=round(sum(every), 3),
        seconds=total.seconds,
        machine_s=total.machine_s,
        cost_usd=total.cost_usd if durations else None,
        assumptions=assumptions,
    )


def _analyzer(info: AnalyzerInfo) -> AnalyzerView:
    options = {name: OptionView(default=o.default, allowed=o.allowed) for name, o in info.options.items()}
    return AnalyzerView(name=info.name, summary=info.summary, lane=info.lane, takes=info.takes, options=options)
