"""/v1/analyses/{id}/results and /events, /v1/search, /v1/export: what was found, in every form."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import iterate_in_threadpool

from pipelines.media.addresses import shown
from serve_apps.api import views
from serve_apps.api.context import Service
from serve_apps.api.problems import PROBLEM_RESPONSES, ProblemError, refuse_fields, responses
from serve_apps.api.schemas import FieldProblem, Results
from serve_apps.results.json_pages import Page
from serve_apps.results.parts import ndjson, write_parquet
from serve_apps.results.summaries import read_summary
from serve_apps.search.terms import query_terms
from serve_apps.store.analysis_store import Analysis, Part
from serve_apps.store.keys import ApiKey, Scope
from serve_apps.store.listing import Cursor, Filter, list_analyses

NDJSON, PARQUET = "application/x-ndjson", "application/vnd.apache.parquet"
LastEventId = Annotated[int, Header(ge=0, lt=2**63, description="Resume after this event.")]
MaxRecords = Annotated[int, Query(ge=1, le=1_000_000, description="JSON only: per analyzer and media item.")]
Offset = Annotated[int, Query(ge=0, lt=2**63, description="JSON only: the records before it are left out.")]
AnalyzerName = Annotated[
    str | None, Query(max_length=64, pattern=r"^[\w.-]+$", description="Only this analyzer's; Parquet needs one.")
]
MediaIndex = Annotated[int | None, Query(ge=0, lt=2**31, description="Only this media item's.")]
MediaNumber = Annotated[int, PathParameter(ge=0, lt=10_000)]
SummaryName = Literal["insights.json", "manifest.json"]
_SUMMARY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}}}
_SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CHUNK_BYTES = 1 << 20
_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {NDJSON: {}, PARQUET: {}}}}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}},
    204: {"description": "Over: nothing will follow."},
}


class SearchHit(BaseModel):
    """One record in which it was found; `time_s` is where in the media, if the analyzer says."""

    analysis_id: str
    media_index: int
    media: str
    analyzer: str
    time_s: float | None
    record: dict[str, Any]


class SearchResults(BaseModel):
    """What was found. `terms` are the words that were looked for; `truncated`: there may be more."""

    terms: list[str]
    hits: list[SearchHit]
    truncated: bool


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1", tags=["results"], dependencies=[Depends(service.gate.requires(Scope.READ))])
    _add_events(router, service)
    _add_search(router, service)

    @router.get("/analyses/{analysis_id}/results", response_model=Results, responses=responses(404, 406) | _FORMS)
    async def results(
        analysis_id: str,
        request: Request,
        max_records: MaxRecords = 10_000,
        analyzer: AnalyzerName = None,
        media_index: MediaIndex = None,
        offset: Offset = 0,
    ) -> Any:
        """What has been found so far: JSON, or all of it as NDJSON or Parquet, by the Accept header."""
        analysis = await service.existing(analysis_id)
        form = _form(request.headers.get("accept", ""))
        parts = await asyncio.to_thread(service.store.parts, analysis_id)
        parts = [p for p in parts if analyzer in (None, p.analyzer) and media_index in (None, p.media_index)]
        if form == NDJSON:
            return StreamingResponse(ndjson(service.objects, analysis, parts), media_type=NDJSON)
        if form == PARQUET:
            return await asyncio.to_thread(_parquet, service, analysis, analyzer, parts)
        page = Page(offset, max_records)
        written = views.results_as_json(service.objects, analysis, parts, page)
        return StreamingResponse(written, media_type="application/json")

    @router.get("/analyses/{analysis_id}/results/{index}/{name}", responses=responses(404) | _SUMMARY)
    async def summary(analysis_id: str, index: MediaNumber, name: SummaryName) -> Response:
        """All that was found in a media item, by insight, with its ranges of time; or its manifest: every file, with
        its checksum. They are there once the analysis has ended and nothing of the item is missing."""
        analysis = await service.existing(analysis_id)
        try:
            data = await asyncio.to_thread(read_summary, service, analysis, index, name)
        except FileNotFoundError:
            detail = f"{analysis_id} is {analysis.state}: of its media item {index} there is no whole result"
            raise ProblemError(404, detail, [FieldProblem(field="index", value=index, detail=detail)]) from None
        return Response(data, media_type="application/json")

    return router


def _form(accept: str) -> str:
    """The first form that is accepted; JSON when anything is. Raises the 406."""
    asked = [item.split(";")[0].strip().lower() for item in accept.split(",") if item.strip()]
    for item in asked:
        if item in (NDJSON, "application/ndjson", "application/jsonl"):
            return NDJSON
        if item in (PARQUET, "application/parquet"):
            return PARQUET
        if item in ("application/json", "application/*", "*/*"):
            return "application/json"
    if asked:
        raise ProblemError(406, f"Accept: application/json, {NDJSON} or {PARQUET}")
    return "application/json"


def _parquet(service: Service, analysis: Analysis, analyzer: str | None, parts: list[Part]) -> Response:
    if analyzer is None and len(analysis.analyzers) > 1:
        detail = f"analyzer is missing: a Parquet file has one schema; one of: {', '.join(analysis.analyzers)}"
        raise refuse_fields([FieldProblem(field="analyzer", detail=detail)])
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been sent
    if not write_parquet(service.objects, parts, file):
        file.close()
        raise ProblemError(404, "there are no such records yet; as JSON or NDJSON, none is an answer")
    file.seek(0)

    def content() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    return StreamingResponse(content(), media_type=PARQUET)


def _add_events(router: APIRouter, service: Service) -> None:
    reader = Annotated[ApiKey, Depends(service.gate.requires(Scope.READ))]

    @router.get("/analyses/{analysis_id}/events", response_class=StreamingResponse, responses=responses(404) | _STREAM)
    async def events(analysis_id: str, key: reader, last_event_id: LastEventId = 0) -> Response:
        """Server-sent events from the first (or after Last-Event-ID) to the end of the analysis."""
        await service.existing(analysis_id)
        if last_event_id > 0:
            heads = await asyncio.to_thread(service.store.heads, [analysis_id])
            finished, newest = heads.get(analysis_id, (True, 0))
            if finished and newest <= last_event_id:
                return Response(status_code=204)  # tells an EventSource not to come back
        service.admit_stream(key)

        async def frames() -> AsyncIterator[str]:
            async with aclosing(service.hub.frames(analysis_id, last_event_id, key.id)) as stream:
                async for frame in stream:
                    yield frame

        return StreamingResponse(frames(), media_type="text/event-stream", headers=_SSE_HEADERS)


def _add_search(router: APIRouter, service: Service) -> None:
    @router.get("/search", responses=PROBLEM_RESPONSES)
    async def search(
        q: Annotated[str, Query(min_length=1, max_length=500, examples=["where is a dog"])],
        analysis_id: Annotated[str | None, Query(pattern="^an_[0-9a-f]{16}$")] = None,
        analyzer: AnalyzerName = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> SearchResults:
        """Records in which all words of a question are found: labels, speech, text in the picture."""
        return await asyncio.to_thread(_search, service, q, analysis_id, analyzer, limit)

    @router.get("/export", response_class=StreamingResponse, responses={200: {"content": {NDJSON: {}}}})
    async def export(_key: Annotated[Any, Depends(service.gate.requires(Scope.ADMIN))]) -> Response:
        """Everything that is kept, as NDJSON: each analysis, every record of it, and the manifest of each media item
        that is whole (scope admin)."""
        return StreamingResponse(iterate_in_threadpool(_export(service)), media_type=NDJSON)


def _search(
    service: Service, question: str, analysis_id: str | None, analyzer: str | None, limit: int
) -> SearchResults:
    terms = query_terms(question)
    found = service.documents.search(terms, limit, analysis_id, analyzer) if terms else []
    media = service.store.media_of({hit.key.analysis_id for hit in found})
    hits = []
    for hit in found:
        if (named := media.get(hit.key.analysis_id)) is not None:
            time_s = hit.record.get("time_s", hit.record.get("start_s"))
            hits.append(
                SearchHit(
                    analysis_id=hit.key.analysis_id,
                    media_index=hit.key.media_index,
                    media=shown(named[hit.key.media_index]),
                    analyzer=hit.key.analyzer,
                    time_s=time_s,
                    record=dict(hit.record),
                )
            )
    return SearchResults(terms=list(terms), hits=hits, truncated=len(found) >= limit)


def _export(service: Service) -> Iterator[bytes]:
    cursor: Cursor | None = None
    while True:
        page, cursor = list_analyses(service.store.engine, Filter(), 100, cursor)
        for analysis in page:
            yield views.export_line(analysis)
            yield from ndjson(service.objects, analysis, service.store.parts(analysis.id))
            yield from _manifests(service, analysis)
        if cursor is None:
            return


def _manifests(service: Service, analysis: Analysis) -> Iterator[bytes]:
    for index in range(len(analysis.media) if analysis.summarised else 0):
        with contextlib.suppress(FileNotFoundError):
            manifest = json.loads(read_summary(service, analysis, index, "manifest.json"))
            told = {"analysis_id": analysis.id, "media_index": index, "manifest": manifest}
            yield (json.dumps(told) + "\n").encode()
