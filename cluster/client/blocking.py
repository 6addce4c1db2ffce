"""The blocking client."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from cluster.client import calls
from cluster.client.answers import accepted, as_method, give_up_unless_transient, refusal, request_of
from cluster.client.calls import Call, Json
from cluster.client.errors import ApiError
from cluster.client.events import FINISHED, EventReader
from cluster.client.progress import ProgressLine
from cluster.client.retrying import RESUME_AFTER_S, STREAM_TIMEOUT, TIMEOUT, wait_before_retry

P = ParamSpec("P")
T = TypeVar("T")


def _sends(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    """The method that sends what `build` describes."""

    @functools.wraps(build)
    def send(self: "Client", *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return as_method(send, build)


class Client:
    """Analyses over HTTP. What failed on the way is sent again, for up to a minute, where that does no harm.

    Safe for threads. Raises ApiError when the API refuses, Unreachable when it does not answer.
    """

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

    def __init__(self, api_url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=api_url, headers=headers, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call, again after a failure that repeating can mend."""
        started, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            reply, trouble = self._try(call)
            wait_s = wait_before_retry(reply, attempt, time.monotonic() - started, call.repeatable)
            if wait_s is None:
                return call.read(accepted(reply, trouble, str(self._http.base_url)))
            time.sleep(wait_s)

    def _try(self, call: Call[Any]) -> tuple[httpx.Response | None, httpx.TransportError | None]:
        try:
            return self._http.send(request_of(self._http, call)), None
        except httpx.TransportError as error:
            return None, error

    def upload(
        self, path: Path | str, on_sent: Callable[[int], None] = lambda _sent: None, upload_id: str | None = None
    ) -> str:
        """Bring a file; returns the upload's id, a media item for `submit`. `on_sent` gets the bytes sent so far.

        With the `upload_id` of one that was cut, only what is missing is sent. Raises ApiError for what is no media.
        """
        path = Path(path)
        size = path.stat().st_size
        view = self.send(calls.upload_view(upload_id) if upload_id else calls.begin_upload(path.name, size))
        missing = calls.missing_parts(view)
        sent = size - sum(part_size for _url, _start, part_size in missing)
        with path.open("rb") as file:
            for url, start, part_size in missing:
                on_sent(sent)
                file.seek(start)
                self.send(calls.put_part(url, file.read(part_size)))
                sent += part_size
        on_sent(sent)
        return str(self.send(calls.complete_upload(view["id"]))["id"])

    def events(self, analysis_id: str, last_event_id: int = 0) -> Iterator[Json]:
        """Every event of the analysis after `last_event_id`, once, until it ends; a broken stream is resumed."""
        reader, last_sign = EventReader(last_event_id), time.monotonic()
        while True:
            try:
                for event in self._stream(analysis_id, reader):
                    last_sign = time.monotonic()
                    yield event
                if reader.over:
                    return
            except (httpx.TransportError, ApiError) as error:
                give_up_unless_transient(error, time.monotonic() - last_sign, str(self._http.base_url))
            reader.cut()
            time.sleep(RESUME_AFTER_S)

    def _stream(self, analysis_id: str, reader: EventReader) -> Iterator[Json]:
        path, headers = calls.event_stream(analysis_id, reader.last_event_id)
        with self._http.stream("GET", path, headers=headers, timeout=STREAM_TIMEOUT) as reply:
            if reply.is_error:
                reply.read()
                raise refusal(reply)
            reader.over = reply.status_code == httpx.codes.NO_CONTENT
            for line in reply.iter_lines():
                if (event := reader.feed(line)) is not None:
                    yield event

    def follow(self, analysis_id: str, every_s: float = 0.2) -> Iterator[Json]:
        """Views of the analysis until it has ended; the last one is terminal."""
        while True:
            view = self.analysis(analysis_id)
            yield view
            if view["state"] in FINISHED:
                return
            time.sleep(every_s)

    def wait(
        self, analysis_id: str, progress: bool = False, timeout_s: float | None = None, every_s: float = 0.2
    ) -> Json:
        """The analysis's last view, once it has ended; `progress` shows a bar on standard error meanwhile.

        Raises TimeoutError after `timeout_s`; the analysis goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with ProgressLine(quiet=not progress) as line:
            for view in self.follow(analysis_id, every_s):
                line.show(view)
                if view["state"] not in FINISHED and deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"{analysis_id} has not ended within {timeout_s:g} s: it is {view['state']}")
        return view
