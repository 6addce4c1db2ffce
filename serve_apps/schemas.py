"""What goes over HTTP: requests, views and problems. Times are ISO 8601 in UTC, durations seconds, money USD."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_MEDIA = 1000
_MAX_URI_LENGTH = 8192


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _storable(value: str) -> str:
    if any(ord(character) < 32 for character in value):
        raise ValueError("control characters are not allowed")
    return value


Uri = Annotated[str, Field(min_length=1, max_length=_MAX_URI_LENGTH), AfterValidator(_storable)]
UriList = Annotated[
    list[Uri],
    Field(min_length=1, max_length=MAX_MEDIA, description="One or up to 1000 files or http(s) URLs."),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


class AnalysisRequest(BaseModel):
    """What to analyse, and for what."""

    model_config = ConfigDict(extra="forbid")

    media: UriList
    analyzers: Annotated[list[Uri], Field(min_length=1, max_length=100)] = ["labels", "scenes"]


class ProgressView(BaseModel):
    """How far it is; `percent` (0..100) is of the media's seconds, `frames` those of finished segments."""

    percent: float
    segments_done: int
    segments_total: int
    frames: int


class WaitingView(BaseModel):
    """Why no worker is on it."""

    reason: str
    since_s: float
    usual_s: float | None


class SecondsView(BaseModel):
    """From the request: until planned (`queued`) and until a worker had a frame; from then to the end; in all."""

    queued: float
    to_first_frame: float | None
    analysis: float | None
    total: float


class ErrorView(BaseModel):
    """Why it failed: the first failed segment's cause, or the unreadable file's."""

    message: str
    media: str | None = None
    segments_failed: int = 0


class AnalysisView(BaseModel):
    """An analysis as it stands. `cost_usd` is its share of its workers so far; null when they are forgotten."""

    id: str
    state: str
    media: list[str]
    analyzers: list[str]
    created_at: str
    finished_at: str | None
    progress: ProgressView
    eta_s: float | None
    waiting: WaitingView | None
    cost_usd: float | None
    seconds: SecondsView
    error: ErrorView | None
    results: str
    links: Mapping[str, str]


class AnalysisList(BaseModel):
    """The newest first."""

    analyses: list[AnalysisView]


class MediaResults(BaseModel):
    """What has been found in one media item, by analyzer; `truncated` holds the full counts of cut lists."""

    uri: str
    analyzers: dict[str, list[dict[str, Any]]]
    truncated: dict[str, int]


class Results(BaseModel):
    """What has been found so far, and the Parquet parts that hold all of it."""

    id: str
    state: str
    media: list[MediaResults]
    parts: list[str]


class FieldProblem(BaseModel):
    """One wrong value and the way out."""

    field: str
    value: Any = None
    detail: str


class Problem(BaseModel):
    """RFC 9457; `field` and `value` name the first thing to mend, `errors` all of them."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    value: Any = None
    errors: list[FieldProblem] = []
