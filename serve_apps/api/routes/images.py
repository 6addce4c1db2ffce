"""/v1/images:analyze: a picture in, what is on it out, in one call."""

import asyncio
import tempfile
from functools import partial
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from serve_apps.api import views
from serve_apps.api.context import Service
from serve_apps.api.problems import refuse_fields, refuse_invalid, responses
from serve_apps.api.schemas import (
    AnalysisRequest,
    AnalysisView,
    AnalyzerChoice,
    AnalyzerList,
    FieldProblem,
    Results,
    Uri,
)
from serve_apps.store.keys import ApiKey, Scope
from serve_apps.store.uploads import UploadRefused

_IN_MEMORY_BYTES = 1 << 20
_PRIORITY = 10  # somebody stands and waits
WaitS = Annotated[float, Query(ge=0, le=120, description="How long to wait, through a cold start too.")]


class ImageRequest(BaseModel):
    """A picture by its URI or the id of an upload, and what to look for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"image": "https://example.org/a.jpg"}]})

    image: Uri
    analyzers: AnalyzerList = [AnalyzerChoice(name="labels")]


_BODIES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/ImageRequest"}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "It has ended: what was found.", "model": Results},
    202: {"description": "It has not ended in time: ask its links.", "model": AnalysisView},
}


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1", tags=["analyses"])
    submitter = Annotated[ApiKey, Depends(service.gate.requires(Scope.SUBMIT))]

    @router.post("/images:analyze", responses=responses(411, 413) | _ANSWERS, openapi_extra=_BODIES)
    async def analyze_image(request: Request, key: submitter, wait_s: WaitS = 30.0) -> Response:
        """Analyse a picture and wait for the answer; 202 when it takes longer than `wait_s`."""
        service.admit_stream(key)
        asked = await _asked(service, request, key)
        body = AnalysisRequest(media=[asked.image], analyzers=asked.analyzers, priority=_PRIORITY)
        analysis, _created = await service.door.run(key.id, partial(service.submit, body, None, key))
        service.submitted(analysis.id)
        if not await service.hub.wait_finished(analysis.id, wait_s, key.id):
            view = (await service.describe([analysis]))[0]
            headers = {"Location": f"/v1/analyses/{analysis.id}"}
            return Response(view.model_dump_json(), 202, headers, media_type="application/json")
        analysis = await service.existing(analysis.id)
        parts = await asyncio.to_thread(service.store.parts, analysis.id)
        found = await asyncio.to_thread(views.results, service.objects, analysis, parts, 1000)
        return Response(found.model_dump_json(), media_type="application/json")

    return router


async def _asked(service: Service, request: Request, key: ApiKey) -> ImageRequest:
    if request.headers.get("content-type", "").startswith("image/"):
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            async for chunk in request.stream():
                file.write(chunk)
            return ImageRequest(image=await asyncio.to_thread(_upload, service, file, key))
    try:
        return ImageRequest.model_validate_json(await request.body())
    except ValidationError as error:
        raise refuse_invalid(error) from None


def _upload(service: Service, file: IO[bytes], key: ApiKey) -> str:
    """The picture as an upload; its id. Raises the 422 for what is no picture."""
    try:
        size = file.seek(0, 2)
        if not size:
            raise UploadRefused("the body is empty")
        file.seek(0)
        upload = service.uploads.store("image", size, key.id, file)
    except UploadRefused as error:
        raise refuse_fields([FieldProblem(field="body", detail=f"body: {error}")]) from None
    return upload.id
