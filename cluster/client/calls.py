"""Every call of the HTTP API as a value, defined once for the blocking and the asyncio client. No I/O.

A client method is one of these functions with the sending added: same name, same arguments, same answer.
"""

import io
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx

T = TypeVar("T")
Json = dict[str, Any]
AnalyzerChoice = str | Mapping[str, Any]
PARQUET, NDJSON = "application/vnd.apache.parquet", "application/x-ndjson"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how to read its answer. `repeatable`: sending it twice does no harm."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


def as_json(reply: httpx.Response) -> Json:
    """The answer's object."""
    return dict(reply.json())


def as_bytes(reply: httpx.Response) -> bytes:
    """The answer as it came."""
    return reply.content


def submit(
    media: str | Sequence[str],
    analyzers: Sequence[AnalyzerChoice] = ("labels", "scenes"),
    key: str | None = None,
    **conditions: Any,
) -> Call[Json]:
    """Ask for an analysis; returns its first view. The same `key` and body is the same analysis, however often sent.

    Without a `key` the call gets one of its own, so that sending it again after a cut is harmless too.
    `analyzers` are names, or {"name": ..., "options": {...}}. `conditions` are the API's: priority, labels,
    budget_usd, keep_days, webhook. Raises ApiError naming the field that is wrong.
    """
    body = {"media": [media] if isinstance(media, str) else list(media), "analyzers": list(analyzers)}
    given = {name: value for name, value in conditions.items() if value is not None}
    return Call(
        "POST", "/v1/analyses", as_json, json=body | given, headers={"Idempotency-Key": key or secrets.token_hex(16)}
    )


def analysis(analysis_id: str) -> Call[Json]:
    """The state, progress, cost and reason to wait of one analysis."""
    return Call("GET", f"/v1/analyses/{analysis_id}", as_json)


def analyses(limit: int = 20, cursor: str | None = None, q: str | None = None, **filters: Any) -> Call[Json]:
    """The newest analyses, a page at a time; `q` finds those in whose results something was found.

    `filters` are the API's: state, label ("key:value"), created_after, created_before.
    """
    asked = {"limit": limit, "cursor": cursor, "q": q, **filters}
    return Call("GET", "/v1/analyses", as_json, params={k: v for k, v in asked.items() if v is not None})


def cancel(analysis_id: str, forever: bool = False) -> Call[Json]:
    """Cancel it; what is done is kept. `forever` erases everything about it (scope admin) and answers {}."""
    params = {"forever": "true"} if forever else {}
    return Call("DELETE", f"/v1/analyses/{analysis_id}", lambda r: {} if not r.content else as_json(r), params=params)


def retry(analysis_id: str) -> Call[Json]:
    """Run again what failed or was cancelled; what is done stays. Raises ApiError (409) when there is nothing to do."""
    return Call("POST", f"/v1/analyses/{analysis_id}/retry", as_json, repeatable=False)


def results(
    analysis_id: str, max_records: int = 10_000, media_index: int | None = None, analyzer: str | None = None
) -> Call[Json]:
    """What has been found so far, per media item and analyzer, and where the Parquet parts lie."""
    asked = {"max_records": max_records, "media_index": media_index, "analyzer": analyzer}
    params = {k: v for k, v in asked.items() if v is not None}
    return Call("GET", f"/v1/analyses/{analysis_id}/results", as_json, params=params)


def insights(analysis_id: str, media_index: int = 0) -> Call[Json]:
    """All that was found in one media item, by insight, each with its ranges of time in seconds:

    {"media": "clip.mp4", "duration_s": 10.0, "insights": [
      {"analyzer": "labels", "name": "dog", "ranges": [{"start_s": 1.0, "end_s": 3.0, ...}]}, ...]}.

    Raises ApiError (404) until the analysis has ended, and for an item of which something is missing.
    """
    return Call("GET", f"/v1/analyses/{analysis_id}/results/{media_index}/insights.json", as_json)


def table(analysis_id: str, analyzer: str, media_index: int | None = None) -> Call[Any]:
    """All records of one analyzer as a pyarrow Table. Raises ApiError (404) while there are none."""
    return _records(analysis_id, PARQUET, _as_table, analyzer, media_index)


def parquet(analysis_id: str, analyzer: str, media_index: int | None = None) -> Call[bytes]:
    """All records of one analyzer as the bytes of a Parquet file. Raises ApiError (404) while there are none."""
    return _records(analysis_id, PARQUET, as_bytes, analyzer, media_index)


def ndjson(analysis_id: str, analyzer: str | None = None, media_index: int | None = None) -> Call[bytes]:
    """All records, one JSON object a line."""
    return _records(analysis_id, NDJSON, as_bytes, analyzer, media_index)


def _records(
    analysis_id: str, form: str, read: Callable[[httpx.Response], T], analyzer: str | None, media_index: int | None
) -> Call[T]:
    asked = {"analyzer": analyzer, "media_index": media_index}
    params = {k: v for k, v in asked.items() if v is not None}
    return Call("GET", f"/v1/analyses/{analysis_id}/results", read, params=params, headers={"Accept": form})


def _as_table(reply: httpx.Response) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.read_table(io.BytesIO(reply.content))


def dataframe(analysis_id: str, analyzer: str, media_index: int | None = None) -> Call[Any]:
    """All records of one analyzer as a pandas DataFrame. Needs pandas (`pip install pandas`)."""
    return _records(analysis_id, PARQUET, lambda reply: _as_table(reply).to_pandas(), analyzer, media_index)


def search(q: str, limit: int = 100, analyzer: str | None = None) -> Call[Json]:
    """The records in which it was found, with their analysis, media and time: "where is a dog", "invoice"."""
    asked = {"q": q, "limit": limit, "analyzer": analyzer}
    return Call("GET", "/v1/search", as_json, params={k: v for k, v in asked.items() if v is not None})


def estimate(media: str | Sequence[str], analyzers: Sequence[AnalyzerChoice] = ("labels", "scenes")) -> Call[Json]:
    """What an analysis may take and cost, and what of that was assumed, before anything is bought."""
    body = {"media": [media] if isinstance(media, str) else list(media), "analyzers": list(analyzers)}
    return Call("POST", "/v1/estimates", as_json, json=body)


def analyzers() -> Call[Json]:
    """The analyzers and their options."""
    return Call("GET", "/v1/analyzers", as_json)


def instances() -> Call[Json]:
    """The machines: which exist, why, since when and for how much."""
    return Call("GET", "/v1/instances", as_json)


def costs() -> Call[Json]:
    """What is spent now, today and this month, by cloud, key and minute of media, beside the budgets."""
    return Call("GET", "/v1/costs", as_json)


def health() -> Call[Json]:
    """Whether the API answers; the only call that needs no key."""
    return Call("GET", "/v1/health", as_json)


def event_stream(analysis_id: str, last_event_id: int) -> tuple[str, dict[str, str]]:
    """The path and headers of an analysis's events after `last_event_id`."""
    return f"/v1/analyses/{analysis_id}/events", {"Last-Event-ID": str(last_event_id), "Accept": "text/event-stream"}


def begin_upload(name: str, size_bytes: int) -> Call[Json]:
    """Begin an upload of exactly this size; the answer names its parts."""
    body = {"name": name, "size_bytes": size_bytes}
    return Call("POST", "/v1/uploads", as_json, json=body, repeatable=False)


def upload_view(upload_id: str) -> Call[Json]:
    """How an upload stands: its parts that are not done are still to be sent."""
    return Call("GET", f"/v1/uploads/{upload_id}", as_json)


def put_part(url: str, data: bytes) -> Call[None]:
    """Send a part to its URL, ours or a presigned one of the storage."""
    return Call("PUT", url, lambda _reply: None, content=data, headers={"Content-Type": "application/octet-stream"})


def complete_upload(upload_id: str) -> Call[Json]:
    """Make one file of the parts. Raises ApiError for what is no media."""
    return Call("POST", f"/v1/uploads/{upload_id}/complete", as_json)


def missing_parts(upload: Json) -> list[tuple[str, int, int]]:
    """(URL, first byte, size in bytes) of the parts of an upload's view that have not come."""
    return [
        (part["url"], (part["number"] - 1) * upload["part_size_bytes"], part["size_bytes"])
        for part in upload["parts"]
        if not part["done"]
    ]
