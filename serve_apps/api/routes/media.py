"""/v1/analyses/{id}/media: what was analysed, to be played beside what was found. Bytes of media and nothing else."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urljoin

import httpx
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

from pipelines.errors import MediaError
from pipelines.media.addresses import LocalFile, MediaAddress, StoredObject, WebAddress, read_address, shown
from pipelines.media.media_types import sniff
from pipelines.media.public_transport import async_client
from serve_apps.api.context import Service
from serve_apps.api.media_policy import MediaRefused
from serve_apps.api.playback import Signer
from serve_apps.api.problems import ProblemError, responses
from serve_apps.api.schemas import FieldProblem
from serve_apps.store.analysis_store import Analysis
from serve_apps.store.keys import Scope

_HEAD_BYTES = 4096
_HEAD_WITHIN_S = 15.0
_MOST_REDIRECTS = 5
_RANGE = re.compile(r"bytes=\d{0,18}-\d{0,18}", re.ASCII)
_PASSED_ON = ("content-length", "content-range", "accept-ranges", "etag", "last-modified")
# Whatever the file is, a browser must not take it for a page of ours.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
    "Cache-Control": "private, max-age=3600",
}
MediaIndex = Annotated[int, PathParameter(ge=0, lt=1000, description="Which of the analysis's media, from 0.")]


class MediaView(BaseModel):
    """A media item. `url` plays it, without a key, for an hour; null: `reason` says why it cannot be played."""

    uri: str
    media_type: str | None
    url: str | None
    reason: str | None


def routes(service: Service) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/analyses/{analysis_id}/media/{index}", tags=["results"])
    signer = Signer()

    @router.get("", dependencies=[Depends(service.gate.requires(Scope.READ))], responses=responses(404))
    async def view(analysis_id: str, index: MediaIndex) -> MediaView:
        """What kind of media it is, and an address at which a browser can play it."""
        analysis = await _analysis(service, analysis_id, index)
        uri = shown(analysis.media[index])
        try:
            place = await service.door.run(analysis.key_id or "", partial(_place, service, analysis, index))
            media_type = await _media_type(place)
        except MediaRefused as error:
            return MediaView(uri=uri, media_type=None, url=None, reason=str(error))
        expires, proof = signer.sign(analysis_id, index, service.store.now())
        url = f"v1/analyses/{analysis_id}/media/{index}/content?expires={expires}&proof={proof}"
        return MediaView(uri=uri, media_type=media_type, url=url, reason=None)

    @router.get("/content", response_class=Response, responses=_CONTENT)
    async def content(
        request: Request,
        analysis_id: str,
        index: MediaIndex,
        expires: Annotated[int, Query(ge=0, lt=2**40)] = 0,
        proof: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        """Its bytes, all or a Range. The address is `url` of the item: its proof stands for a key."""
        if not signer.is_valid(analysis_id, index, expires, proof, service.store.now()):
            detail = "the address is not valid, or not any more: ask for the item again, with your key"
            raise ProblemError(401, detail, headers={"WWW-Authenticate": "Bearer"})
        try:
            analysis = await _analysis(service, analysis_id, index)
            place = await service.door.run(analysis.key_id or "", partial(_place, service, analysis, index))
            media_type = await _media_type(place)
            if isinstance(place, LocalFile):
                return FileResponse(place.path, media_type=media_type, headers=_HEADERS)
            return await _passed_on(place, media_type, request.headers.get("range"))
        except MediaRefused as error:
            raise ProblemError(404, str(error)) from None

    return router


_CONTENT = responses(404) | {
    200: {"content": {"video/*": {}, "audio/*": {}, "image/*": {}}},
    206: {"description": "The Range that was asked for."},
    416: {"description": "The Range lies beyond the end.", "content": {"text/plain": {}}},
}


async def _analysis(service: Service, analysis_id: str, index: int) -> Analysis:
    """The analysis, which has that media item. Raises the 404."""
    analysis = await service.existing(analysis_id)
    if index >= len(analysis.media):
        problem = FieldProblem(field="index", value=index, detail=f"its media are 0 to {len(analysis.media) - 1}")
        raise ProblemError(404, f"{analysis_id} has no media item {index}", [problem])
    return analysis


def _place(service: Service, analysis: Analysis, index: int) -> LocalFile | WebAddress:
    """Where to read it. What might be named when it was submitted may not be read any more: it is judged again."""
    uri = analysis.media[index]
    if service.uploads.by_uri(uri) is not None:
        return _playable(read_address(service.objects.readable(uri)))
    try:
        opened = service.credentials.open(uri)
    except MediaError as error:
        raise MediaRefused(error.cause) from None
    service.policy.check(opened, by_owner=analysis.key_id is None)
    return _playable(read_address(service.policy.readable(opened)))


def _playable(address: MediaAddress) -> LocalFile | WebAddress:
    if isinstance(address, StoredObject):
        raise MediaRefused("it lies in a storage that is not the service's own, and is not played from there")
    return address


async def _media_type(place: LocalFile | WebAddress) -> str:
    """What its first bytes say. Raises MediaRefused for what is no media: this is no way to read other files."""
    if isinstance(place, WebAddress):
        try:
            async with asyncio.timeout(_HEAD_WITHIN_S):
                head = await _head_of(place)
        except TimeoutError:
            raise MediaRefused(f"its host does not send its first bytes within {_HEAD_WITHIN_S:g} s") from None
    else:
        head = await asyncio.to_thread(_head, place.path)
    media_type = sniff(head)
    if media_type is None:
        raise MediaRefused("its first bytes are of no video, audio or image format")
    return media_type


async def _head_of(place: WebAddress) -> bytes:
    head = b""
    async with AsyncExitStack() as stack:
        reply = await _open(stack, place, f"bytes=0-{_HEAD_BYTES - 1}")
        async for chunk in reply.aiter_raw(_HEAD_BYTES):
            head += chunk
            if len(head) >= _HEAD_BYTES:
                break
    return head


def _head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise MediaRefused(f"it cannot be read any more: {error.strerror}") from None


async def _passed_on(place: WebAddress, media_type: str, wanted: str | None) -> Response:
    """Another host's answer as ours, with our idea of what it is."""
    stack = AsyncExitStack()
    try:
        reply = await _open(stack, place, wanted)
    except BaseException:
        await stack.aclose()
        raise

    async def chunks() -> AsyncIterator[bytes]:
        async with stack:
            async for chunk in reply.aiter_raw():
                yield chunk

    headers = {name: reply.headers[name] for name in _PASSED_ON if name in reply.headers} | _HEADERS
    return StreamingResponse(chunks(), reply.status_code, headers, media_type=media_type)


async def _open(stack: AsyncExitStack, place: WebAddress, wanted: str | None) -> httpx.Response:
    """A GET of a Range, redirects followed; closed with the stack. Raises MediaRefused."""
    client = await stack.enter_async_context(async_client(trusted=place.trusted))
    headers = {"Accept-Encoding": "identity"}
    if wanted is not None and _RANGE.fullmatch(wanted):
        headers["Range"] = wanted
    url = place.url_with_credentials
    try:
        for _hop in range(_MOST_REDIRECTS):
            reply = await stack.enter_async_context(client.stream("GET", url, headers=headers))
            if not reply.has_redirect_location:
                break
            url = urljoin(url, reply.headers["location"])
        if reply.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            reply.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MediaRefused(f"its host does not hand it out: {type(error).__name__}") from None
    return reply
