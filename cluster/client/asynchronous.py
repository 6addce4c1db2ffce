"""The asyncio client: the calls of the blocking one, awaited."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from cluster.client import calls
from cluster.client.answers import accepted, as_method, give_up_unless_transient, refusal, request_of
from cluster.client.calls import Call, Json
from cluster.client.errors import ApiError
from cluster.client.events import FINISHED, EventReader
from cluster.client.retrying import RESUME_AFTER_S, STREAM_TIMEOUT, TIMEOUT, wait_before_retry

P = ParamSpec("P")
T = TypeVar("T")


def _sends(build: Callable[P, Call[T]]) -> Callable[Concatenate["AsyncClient", P], Awaitable[T]]:
    """The method that sends what `build` describes."""

    @functools.wraps(build)
    async def send(self: "AsyncClient", *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return as_method(send, build)


class AsyncClient:
    """`Client` for asyncio: same calls, same retries, same errors."""

    submit = _sends(calls.submit)
    analysis = _sends(calls.analysis)
    analyses = _sends(calls.analyses)
    cancel = _sends(calls.cancel)
    retry = _sends(calls.retry)
    results = _sends(calls.results)
    insights = _sends(calls.insights)
    table = _sends(calls.table)
    parquet = _sends(calls.parquet)
    ndjson = _sends(calls.ndjson)
    dataframe = _sends(calls.dataframe)
    search = _sends(calls.search)
    estimate = _sends(calls.estimate)
    analyzers = _sends(calls.analyzers)
    instances = _sends(calls.instances)
    costs = _sends(calls.costs)
    health = _sends(calls.health)

    def __init__(self, api_url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=api_url, headers=headers, timeout=TIMEOUT, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call, again after a failure that repeating can mend."""
        loop = asyncio.get_running_loop()
        started, attempt = loop.time(), 0
        while True:
            attempt += 1
            reply, trouble = await self._try(call)
            wait_s = wait_before_retry(reply, attempt, loop.time() - started, call.repeatable)
            if wait_s is None:
                return call.read(accepted(reply, trouble, str(self._http.base_url)))
            await asyncio.sleep(wait_s)

    async def _try(self, call: Call[Any]) -> tuple[httpx.Response | None, httpx.TransportError | None]:
        try:
            return await self._http.send(request_of(self._http, call)), None
        except httpx.TransportError as error:
            return None, error

    async def upload(
        self, path: Path | str, on_sent: Callable[[int], None] = lambda _sent: None, upload_id: str | None = None
    ) -> str:
        """Bring a file; see `Client.upload`."""
        path = Path(path)
        size = (await asyncio.to_thread(path.stat)).st_size
        view = await self.send(calls.upload_view(upload_id) if upload_id else calls.begin_upload(path.name, size))
        missing = calls.missing_parts(view)
        sent = size - sum(part_size for _url, _start, part_size in missing)
        for url, start, part_size in missing:
            on_sent(sent)
            await self.send(calls.put_part(url, await asyncio.to_thread(_read, path, start, part_size)))
            sent += part_size
        on_sent(sent)
        return str((await self.send(calls.complete_upload(view["id"])))["id"])

    async def events(self, analysis_id: str, last_event_id: int = 0) -> AsyncIterator[Json]:
        """Every event of the analysis after `last_event_id`, once, until it ends; a broken stream is resumed."""
        loop = asyncio.get_running_loop()
        reader, last_sign = EventReader(last_event_id), loop.time()
        while True:
            try:
                async for event in self._stream(analysis_id, reader):
                    last_sign = loop.time()
                    yield event
                if reader.over:
                    return
            except (httpx.TransportError, ApiError) as error:
                give_up_unless_transient(error, loop.time() - last_sign, str(self._http.base_url))
            reader.cut()
            await asyncio.sleep(RESUME_AFTER_S)

    async def _stream(self, analysis_id: str, reader: EventReader) -> AsyncIterator[Json]:
        path, headers = calls.event_stream(analysis_id, reader.last_event_id)
        async with self._http.stream("GET", path, headers=headers, timeout=STREAM_TIMEOUT) as reply:
            if reply.is_error:
                await reply.aread()
                raise refusal(reply)
            reader.over = reply.status_code == httpx.codes.NO_CONTENT
            async for line in reply.aiter_lines():
                if (event := reader.feed(line)) is not None:
                    yield event

    async def follow(self, analysis_id: str, every_s: float = 0.2) -> AsyncIterator[Json]:
        """Views of the analysis until it has ended; the last one is terminal."""
        while True:
            view = await self.analysis(analysis_id)
            yield view
            if view["state"] in FINISHED:
                return
            await asyncio.sleep(every_s)

    async def wait(self, analysis_id: str, timeout_s: float | None = None, every_s: float = 0.2) -> Json:
        """The analysis's last view, once it has ended. Raises TimeoutError after `timeout_s`; the analysis goes on."""
        async with asyncio.timeout(timeout_s):
            return [view async for view in self.follow(analysis_id, every_s)][-1]


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
