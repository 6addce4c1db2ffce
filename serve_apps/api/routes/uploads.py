"""/v1/uploads: files that clients bring, whole or in parts."""

import asyncio
import tempfile
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile

from serve_apps.api.context import UPLOAD_ID, Service
from serve_apps.api.problems import ProblemError, printable, refuse_fields, refuse_invalid, responses
from serve_apps.api.schemas import FieldProblem, Storable
from serve_apps.api.views import iso
from serve_apps.store.keys import ApiKey, Scope
from serve_apps.store.uploads import Upload, UploadRefused

_IN_MEMORY_BYTES = 1 << 20
_FORM_OVERHEAD_BYTES = 1 << 16


class UploadRequest(BaseModel):
    """A file that is to come."""

    name: Annotated[str, Field(min_length=1, max_length=255, examples=["holiday.mp4"]), Storable]
    size_bytes: Annotated[int, Field(gt=0, lt=2**63, examples=[1048576])]


class UploadPart(BaseModel):
    """A part: PUT its bytes to `url` (relative: with your key; absolute: presigned, without it)."""

    number: int
    size_bytes: int
    done: bool
    url: str | None


class UploadView(BaseModel):
    """An upload. Once its state is complete, its `id` is a media item of a request.

    `parts` has the parts of an open upload; those that are not done are to be sent, in any order.
    """

    id: str
    name: str
    state: str
    size_bytes: int
    part_size_bytes: int
    media_type: str | None
    created_at: str
    parts: list[UploadPart]
    links: dict[str, str]


_BODIES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": UploadRequest.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}
_PART_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
    submitter = Annotated[ApiKey, Depends(service.gate.requires(Scope.SUBMIT))]
    may_submit = Depends(service.gate.requires(Scope.SUBMIT))
    _add_parts(router, service)

    @router.post("", status_code=201, responses=responses(411, 413), openapi_extra=_BODIES)
    async def begin(request: Request, response: Response, key: submitter) -> UploadView:
        """Begin an upload in parts (JSON), or send a small file at once (multipart/form-data, field `file`)."""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            upload = await _take_form(service, request, key)
        else:
            upload = await _begin(service, await _asked(request), key)
        response.headers["Location"] = f"/v1/uploads/{upload.id}"
        return await asyncio.to_thread(_view, service, upload)

    @router.get("/{upload_id}", dependencies=[may_submit], responses=responses(404))
    async def view(upload_id: str) -> UploadView:
        """How it stands: after a cut, what is not done is to be sent again."""
        return await asyncio.to_thread(_view, service, await _existing(service, upload_id))

    @router.delete("/{upload_id}", dependencies=[may_submit], status_code=204, responses=responses(404))
    async def remove(upload_id: str) -> None:
        """Remove it for good. An analysis that has not read it yet fails."""
        await asyncio.to_thread(service.uploads.erase, await _existing(service, upload_id))

    return router


def _add_parts(router: APIRouter, service: Service) -> None:
    may_submit = Depends(service.gate.requires(Scope.SUBMIT))

    @router.put(
        "/{upload_id}/parts/{number}",
        dependencies=[may_submit],
        status_code=204,
        responses=responses(404, 409, 413),
        openapi_extra=_PART_BODY,
    )
    async def put_part(upload_id: str, number: int, request: Request) -> None:
        """Send a part's bytes; again: over the same."""
        upload = await _existing(service, upload_id)
        try:
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
                await _receive(request, file, upload.size_of(number))
                await asyncio.to_thread(service.uploads.put_part, upload, number, file)
        except UploadRefused as error:
            raise ProblemError(409, str(error)) from None

    @router.post("/{upload_id}/complete", dependencies=[may_submit], responses=responses(404, 409))
    async def complete(upload_id: str) -> UploadView:
        """Make one file of the parts. What is no media by its first bytes is refused and removed."""
        upload = await _existing(service, upload_id)
        return await asyncio.to_thread(_view, service, await _complete(service, upload))


async def _asked(request: Request) -> UploadRequest:
    try:
        return UploadRequest.model_validate_json(await request.body())
    except ValidationError as error:
        raise refuse_invalid(error) from None


async def _begin(service: Service, asked: UploadRequest, key: ApiKey) -> Upload:
    try:
        return await asyncio.to_thread(service.uploads.begin, asked.name, asked.size_bytes, key.id)
    except UploadRefused as error:
        problem = FieldProblem(field="size_bytes", value=asked.size_bytes, detail=f"size_bytes: {error}")
        raise ProblemError(413, str(error), [problem]) from None


async def _take_form(service: Service, request: Request, key: ApiKey) -> Upload:
    """A whole file in a form. Its length must be known before it is read: the disk is not a stranger's to fill."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise ProblemError(411, "Content-Length is missing: send it, or begin an upload in parts")
    if int(length) > service.uploads.max_bytes + _FORM_OVERHEAD_BYTES:
        raise ProblemError(413, f"the file has more than {service.uploads.max_bytes} bytes")
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile) or not file.size:
            raise refuse_fields([FieldProblem(field="file", detail="file is missing or empty")])
        name = "".join(c for c in file.filename or "" if c.isprintable())[:255] or "file"
        try:
            return await asyncio.to_thread(service.uploads.store, name, file.size, key.id, file.file)
        except UploadRefused as error:
            raise refuse_fields([FieldProblem(field="file", value=name, detail=f"file: {error}")]) from None


async def _complete(service: Service, upload: Upload) -> Upload:
    try:
        return await asyncio.to_thread(service.uploads.complete, upload)
    except UploadRefused as error:
        raise ProblemError(409, str(error)) from None


async def _receive(request: Request, file: IO[bytes], limit: int) -> None:
    """The body into the file. Raises the 413 as soon as it is longer than `limit` bytes."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise ProblemError(413, f"the part has more than its {limit} bytes")
        file.write(chunk)


async def _existing(service: Service, upload_id: str) -> Upload:
    upload = await asyncio.to_thread(service.uploads.get, upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
    if upload is None:
        problem = FieldProblem(field="id", value=printable(upload_id), detail="POST /v1/uploads begins one")
        raise ProblemError(404, f"there is no upload {printable(upload_id)!r}", [problem])
    return upload


def _view(service: Service, upload: Upload) -> UploadView:
    here = f"/v1/uploads/{upload.id}"
    there = service.uploads.parts(upload)
    numbers = range(1, upload.parts_total + 1) if upload.media_type is None else ()
    parts = []
    for number in numbers:
        done = there.get(number) == upload.size_of(number)
        url = None if done else service.uploads.part_url(upload, number) or f"{here}/parts/{number}"
        parts.append(UploadPart(number=number, size_bytes=upload.size_of(number), done=done, url=url))
    return UploadView(
        id=upload.id,
        name=upload.name,
        state=upload.state.value,
        size_bytes=upload.size_bytes,
        part_size_bytes=upload.part_size_bytes,
        media_type=upload.media_type,
        created_at=iso(upload.created_at),
        parts=parts,
        links={"self": here, "complete": f"{here}/complete"},
    )
