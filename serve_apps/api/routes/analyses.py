"""/v1/analyses: ask for analyses, see how they stand, cancel, try again, erase."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response

from serve_apps.analyses import FINISHED, AnalysisState
from serve_apps.api.coalescing import Together
from serve_apps.api.context import ANALYSIS_ID, Service
from serve_apps.api.problems import PROBLEM_RESPONSES, ProblemError, printable, refuse_fields, responses
from serve_apps.api.schemas import AnalysisList, AnalysisRequest, AnalysisView, DeliveryList, FieldProblem
from serve_apps.api.views import delivery_views
from serve_apps.search.terms import query_terms
from serve_apps.store.keys import ApiKey, Scope
from serve_apps.store.listing import Cursor, Filter, list_analyses
from serve_apps.work.erasing import erase_analysis

_log = logging.getLogger(__name__)
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="Makes a retry harmless: same key and body, same analysis."),
]
TraceParent = Annotated[str, Header(description="W3C Trace Context: the caller's trace goes on here.")]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]
States = Annotated[list[AnalysisState] | None, Query(description="Any of these states.")]
Labels = Annotated[list[str] | None, Query(max_length=32, description="`key:value`; all must hold.")]
Words = Annotated[
    str | None,
    Query(min_length=1, max_length=500, description='Only those in whose results it is found: "where is a dog".'),
]
Moment = Annotated[datetime | None, Query(description="ISO 8601.")]
_MOST_FOUND = 1000


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/analyses", tags=["analyses"])
    may_read = Depends(service.gate.requires(Scope.READ))
    _add_submit(router, service)
    _add_changes(router, service)

    @router.get("", dependencies=[may_read], responses=PROBLEM_RESPONSES)
    async def page(
        limit: Limit = 20,
        cursor: After = None,
        state: States = None,
        label: Labels = None,
        q: Words = None,
        created_after: Moment = None,
        created_before: Moment = None,
    ) -> AnalysisList:
        """The newest analyses that meet all conditions, a page at a time."""
        ids = None if q is None else await _found(service, q)
        wanted = Filter(tuple(state or ()), _labels(label or ()), _epoch(created_after), _epoch(created_before), ids)
        found, after = await asyncio.to_thread(list_analyses, service.store.engine, wanted, limit, _cursor(cursor))
        next_cursor = None if after is None else after.encode()
        return AnalysisList(analyses=await service.describe(found), next_cursor=next_cursor)

    current = Together(service.views_as_json)

    # What clients ask most: read together, written as JSON in the reading's thread.
    @router.get("/{analysis_id}", dependencies=[may_read], responses=responses(404), response_model=AnalysisView)
    async def view(analysis_id: str) -> Response:
        """State, progress, ETA, why it waits, what it has cost and may cost."""
        body = await current.get(analysis_id) if ANALYSIS_ID.fullmatch(analysis_id) else None
        return Response(body or service.missing(analysis_id), media_type="application/json")

    @router.get("/{analysis_id}/webhooks", dependencies=[may_read], responses=responses(404))
    async def webhooks(analysis_id: str) -> DeliveryList:
        """The calls of its webhook: what was tried, what came back, when it is tried again."""
        await service.existing(analysis_id)
        return DeliveryList(deliveries=await asyncio.to_thread(delivery_views, service.store.engine, analysis_id))

    return router


def _add_submit(router: APIRouter, service: Service) -> None:
    submitter = Annotated[ApiKey, Depends(service.gate.requires(Scope.SUBMIT))]

    @router.post("", status_code=202, responses=responses(402, 409))
    async def submit(
        request: AnalysisRequest,
        response: Response,
        key: submitter,
        idempotency_key: IdempotencyKey = None,
        traceparent: TraceParent = "",
    ) -> AnalysisView:
        """Ask for an analysis. It is stored when this answers; workers are bought as needed."""
        with service.traces.request("POST /v1/analyses", traceparent) as context:
            analysis, created = await service.door.run(
                key.id, partial(service.submit, request, idempotency_key, key, context)
            )
        if created:
            asked = f"{len(analysis.media)} media for {', '.join(analysis.analyzers)}"
            _log.info("accepted: %s", asked, extra={"analysis": analysis.id})
            service.submitted(analysis.id)
        else:
            response.headers["Idempotent-Replayed"] = "true"
        response.headers["Location"] = f"/v1/analyses/{analysis.id}"
        return (await service.describe([analysis]))[0]


def _add_changes(router: APIRouter, service: Service) -> None:
    submitter = Annotated[ApiKey, Depends(service.gate.requires(Scope.SUBMIT))]

    @router.delete("/{analysis_id}", responses=responses(403, 404), status_code=200, response_model=None)
    async def cancel(
        analysis_id: str,
        key: submitter,
        forever: Annotated[bool, Query(description="Erase it for good: results, parts, uploads, history.")] = False,
    ) -> AnalysisView | Response:
        """Cancel it: what is done is kept. With `forever` (scope admin), nothing of it is kept."""
        analysis = await service.existing(analysis_id)
        if forever and not key.allows(Scope.ADMIN):
            raise ProblemError(403, "erasing for good needs a key with the scope admin")
        await asyncio.to_thread(service.lifecycle.cancel, analysis_id)
        service.hub.look_now()
        if forever:
            await asyncio.to_thread(erase_analysis, service, analysis)
            return Response(status_code=204)
        return await service.view(analysis_id)

    @router.post("/{analysis_id}/retry", status_code=202, responses=responses(404, 409))
    async def retry(analysis_id: str, key: submitter) -> AnalysisView:
        """Run again what failed or was cancelled; what is done stays as it is."""
        analysis = await service.existing(analysis_id)
        if analysis.state is AnalysisState.SUCCEEDED or not await asyncio.to_thread(
            service.lifecycle.retry, analysis_id
        ):
            now = await service.existing(analysis_id)
            over = "there is nothing to try again" if now.state in FINISHED else "it has not ended"
            raise ProblemError(409, f"{analysis_id} is {now.state}: {over}")
        service.submitted(analysis_id)
        return await service.view(analysis_id)


async def _found(service: Service, question: str) -> list[str]:
    terms = query_terms(question)
    if not terms:
        return []
    return await asyncio.to_thread(service.documents.analyses_with, terms, _MOST_FOUND)


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, colon, value = pair.partition(":")
        if not colon or not key or "\0" in pair or '"' in key or "\\" in key:
            detail = f"label = {printable(pair)!r}: write key:value"
            raise refuse_fields([FieldProblem(field="label", value=printable(pair), detail=detail)])
        labels[key] = value
    return labels


def _cursor(text: str | None) -> Cursor | None:
    try:
        return None if text is None else Cursor.decode(text)
    except ValueError as error:
        detail = f"cursor = {printable(text)!r}: {error}"
        raise refuse_fields([FieldProblem(field="cursor", value=printable(text), detail=detail)]) from None


def _epoch(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    aware: Any = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return float((aware - datetime.fromtimestamp(0, UTC)).total_seconds())
