"""The HTTP API: stores what is asked for, says how it stands, hands out what was found. It runs no model."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serve_apps import problems, views
from serve_apps.events import stream
from serve_apps.media_policy import MediaPolicy, MediaRefused
from serve_apps.problems import PROBLEM_RESPONSES, ProblemError, printable, refuse_fields
from serve_apps.schemas import AnalysisList, AnalysisRequest, AnalysisView, FieldProblem, Results
from serve_apps.store import Analysis, IdempotencyConflict, Store

Fleet = Callable[[], Awaitable[dict[str, Any]]]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255, description="Makes a retry harmless.")]
LastEventId = Annotated[int, Header(ge=0, lt=2**63, description="Resume after this event.")]
Limit = Annotated[int, Query(ge=1, le=100)]
MaxRecords = Annotated[int, Query(ge=1, le=1_000_000, description="Per analyzer and media item.")]
_SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def create_app(
    store: Store,
    fleet: Fleet,
    analyzer_names: tuple[str, ...],
    token: str | None,
    storage_uri: str,
    media_roots: tuple[str, ...],
    wake: Callable[[], None],
    live: Callable[[], dict[str, Any]] | None = None,
    allow_private_hosts: bool = False,
) -> FastAPI:
    """The API's application.

    `fleet` answers the orchestrator's view; `wake` is called in the event loop after a request was stored; `live`
    adds to the answer of /v1/health; with a `token`, everything but health and documentation needs it.
    """
    app = FastAPI(title="AIMA", description="Media analysis on demand.", version="1")
    problems.install(app)
    service = _Service(store, fleet, analyzer_names, storage_uri, MediaPolicy(media_roots, allow_private_hosts), wake)
    guarded: dict[str, Any] = {"dependencies": [Depends(_bearer(token))], "responses": PROBLEM_RESPONSES}
    app.include_router(_analysis_routes(service), **guarded)
    app.include_router(_reading_routes(service), **guarded)
    app.include_router(_fleet_routes(fleet), **guarded)

    @app.get("/v1/health", tags=["service"])
    async def health() -> dict[str, Any]:
        """Whether the API answers."""
        return {"status": "ok"} | (live() if live else {})

    return app


@dataclass(frozen=True)
class _Service:
    """What the routes do; the parts that wait for disk or database run in threads."""

    store: Store
    fleet: Fleet
    analyzer_names: tuple[str, ...]
    storage_uri: str
    policy: MediaPolicy
    wake: Callable[[], None]

    async def describe(self, analyses: Sequence[Analysis]) -> list[AnalysisView]:
        return await asyncio.to_thread(views.describe, self.store, await self.fleet(), analyses)

    async def existing(self, analysis_id: str) -> Analysis:
        """The analysis. Raises the 404."""
        analysis = await asyncio.to_thread(self.store.get, analysis_id)
        if analysis is None:
            problem = FieldProblem(
                field="id", value=printable(analysis_id), detail="GET /v1/analyses lists what there is"
            )
            raise ProblemError(404, f"there is no analysis {printable(analysis_id)!r}", [problem])
        return analysis

    def submit(self, request: AnalysisRequest, key: str | None) -> tuple[Analysis, bool]:
        """Store the request; False if its key had stored it before. Raises the 409 and the 422."""
        digest = hashlib.sha256(json.dumps(request.model_dump(), sort_keys=True).encode()).hexdigest()
        try:
            # Before the files are looked at: a retry is answered even when they are gone by now.
            if (earlier := self.store.replay(key, digest)) is not None:
                return earlier, False
            media = self._checked(request)
            return self.store.create(media, list(dict.fromkeys(request.analyzers)), key, digest)
        except IdempotencyConflict as error:
            problem = FieldProblem(
                field="Idempotency-Key", value=printable(key), detail="use a new key for a new request"
            )
            raise ProblemError(409, f"{error}; use a new key", [problem]) from None

    def _checked(self, request: AnalysisRequest) -> list[str]:
        """The media to analyse. Raises the 422 with every wrong name in it."""
        wrong, media = [], []
        for index, name in enumerate(request.analyzers):
            if name not in self.analyzer_names:
                reason = f"unknown analyzer; allowed: {', '.join(self.analyzer_names)}"
                wrong.append(_wrong(f"analyzers[{index}]", name, reason))
        for index, uri in enumerate(request.media):
            try:
                media.append(self.policy.check(uri))
            except MediaRefused as error:
                wrong.append(_wrong(f"media[{index}]", uri, str(error)))
        if wrong:
            raise refuse_fields(wrong)
        return media


def _wrong(field: str, value: str, reason: str) -> FieldProblem:
    return FieldProblem(field=field, value=printable(value), detail=f"{field} = {printable(value)!r}: {reason}")


def _analysis_routes(service: _Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/analyses", tags=["analyses"])

    @routes.post("", status_code=202)
    async def submit(
        request: AnalysisRequest, response: Response, idempotency_key: IdempotencyKey = None
    ) -> AnalysisView:
        """Ask for an analysis. It is stored when this answers; workers are bought as needed."""
        analysis, created = await asyncio.to_thread(service.submit, request, idempotency_key)
        if created:
            service.wake()
        else:
            response.headers["Idempotent-Replayed"] = "true"
        response.headers["Location"] = f"/v1/analyses/{analysis.id}"
        return (await service.describe([analysis]))[0]

    @routes.get("")
    async def recent(limit: Limit = 20) -> AnalysisList:
        """The newest analyses."""
        found = await asyncio.to_thread(service.store.recent, limit)
        return AnalysisList(analyses=await service.describe(found))

    @routes.get("/{analysis_id}")
    async def view(analysis_id: str) -> AnalysisView:
        """State, progress, ETA, why it waits, and what it has cost."""
        return (await service.describe([await service.existing(analysis_id)]))[0]

    return routes


def _reading_routes(service: _Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/analyses/{analysis_id}", tags=["results"])

    @routes.get("/results")
    async def results(analysis_id: str, max_records: MaxRecords = 10_000) -> Results:
        """What has been found so far."""
        analysis = await service.existing(analysis_id)
        return await asyncio.to_thread(views.results, service.store, analysis, service.storage_uri, max_records)

    @routes.get("/events", response_class=StreamingResponse)
    async def events(analysis_id: str, last_event_id: LastEventId = 0) -> Response:
        """Server-sent events from the first (or after Last-Event-ID) to the end of the analysis."""
        store = service.store
        await service.existing(analysis_id)
        over = last_event_id > 0 and await asyncio.to_thread(store.is_finished, analysis_id)
        if over and not await asyncio.to_thread(store.events_after, analysis_id, last_event_id):
            return Response(status_code=204)  # tells an EventSource not to come back
        frames = stream(store, analysis_id, last_event_id)
        return StreamingResponse(frames, media_type="text/event-stream", headers=_SSE_HEADERS)

    return routes


def _fleet_routes(fleet: Fleet) -> APIRouter:
    routes = APIRouter(tags=["service"])

    @routes.get("/v1/instances")
    async def instances() -> dict[str, Any]:
        """The machines: which exist, why, since when and for how much."""
        return await fleet()

    return routes


def _bearer(token: str | None) -> Callable[..., None]:
    """A dependency that lets only holders of the token in."""
    scheme = HTTPBearer(auto_error=False)

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if token is None:
            return
        if given is None or not secrets.compare_digest(given.credentials.encode(), token.encode()):
            raise ProblemError(
                401,
                "a valid token is needed: Authorization: Bearer <token>",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check
