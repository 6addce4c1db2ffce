"""What goes over HTTP about analyses, and problems. Times are ISO 8601 in UTC, durations seconds, money USD."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

MAX_MEDIA = 1000
MAX_LABELS = 32
_MAX_URI_LENGTH = 8192
EXAMPLE_ID = "an_0123456789abcdef"


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _storable(value: str) -> str:
    if any(ord(character) < 32 for character in value):
        raise ValueError("control characters are not allowed")
    return value


Storable = AfterValidator(_storable)
Uri = Annotated[str, Field(min_length=1, max_length=_MAX_URI_LENGTH), Storable]
UriList = Annotated[
    list[Uri],
    Field(
        min_length=1,
        max_length=MAX_MEDIA,
        description="One or up to 1000 files, http(s) URLs, objects of allowed storage, or ids of uploads.",
    ),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]
LabelKey = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$")]
LabelValue = Annotated[str, Field(max_length=255), Storable]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AnalyzerChoice(_Asked):
    """An analyzer and its options; GET /v1/analyzers says which there are."""

    name: Annotated[str, Field(min_length=1, max_length=64), Storable]
    options: Annotated[dict[str, Any], Field(max_length=50)] = {}


def _as_choice(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


AnalyzerList = Annotated[
    list[Annotated[AnalyzerChoice, BeforeValidator(_as_choice, json_schema_input_type=str | AnalyzerChoice)],],
    Field(min_length=1, max_length=100, description='Names, or objects such as {"name": "labels", "options": {}}.'),
]


class WebhookRequest(_Asked):
    """Where to tell that the analysis has ended, and the secret that signs it (HMAC-SHA256)."""

    url: Uri
    secret: Annotated[SecretStr, Field(min_length=16, max_length=255)]


class AnalysisRequest(_Asked):
    """What to analyse, for what, and on which conditions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"media": "https://example.org/clip.mp4"},
                {
                    "media": ["s3://videos/a.mp4", "up_0123456789abcdef"],
                    "analyzers": ["scenes", {"name": "labels", "options": {"fps": 1}}],
                    "priority": 5,
                    "labels": {"project": "demo"},
                    "budget_usd": 0.5,
                },
            ]
        }
    )

    media: UriList
    analyzers: AnalyzerList = [AnalyzerChoice(name="labels"), AnalyzerChoice(name="scenes")]
    priority: Annotated[int, Field(ge=-10, le=10, description="Higher runs first; 0 is usual.")] = 0
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=MAX_LABELS)] = {}
    budget_usd: Annotated[
        float | None, Field(gt=0, le=1e6, description="It is stopped, and what is done kept, when it has cost this.")
    ] = None
    webhook: WebhookRequest | None = None
    keep_days: Annotated[
        float | None,
        Field(gt=0, le=36500, description="Everything about it is erased after this; unset: the deployment's rule."),
    ] = None


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


class FailedMedia(BaseModel):
    """A media item that failed: `index` in `media`, and the cause; no segment failed where it could not be read."""

    index: int
    media: str
    message: str
    segments_failed: int = 0


class AnalysisView(BaseModel):
    """An analysis as it stands. `partial`: it has ended, and of its media only `failed_media` failed.

    `cost_usd` is its share of its workers so far, null when that is not known, and `usd_per_media_minute` the same for
    each minute of media that is done; `estimate_usd` is what it may cost in
    all, null before it is planned or while no price is known. `expires_at` is when everything about it is erased.
    """

    id: Annotated[str, Field(examples=[EXAMPLE_ID])]
    state: Literal["queued", "running", "succeeded", "partial", "failed", "cancelled"]
    media: list[str]
    analyzers: list[str]
    options: dict[str, dict[str, Any]]
    priority: int
    labels: dict[str, str]
    created_at: str
    finished_at: str | None
    expires_at: str | None
    progress: ProgressView
    eta_s: float | None
    waiting: WaitingView | None
    cost_usd: float | None
    usd_per_media_minute: float | None
    estimate_usd: float | None
    budget_usd: float | None
    webhook_url: str | None
    seconds: SecondsView
    error: ErrorView | None
    failed_media: list[FailedMedia]
    results: str
    links: Mapping[str, str]


class AnalysisList(BaseModel):
    """The newest first. `next_cursor` brings the next page; null: this is the last."""

    analyses: list[AnalysisView]
    next_cursor: str | None


class MediaResults(BaseModel):
    """What has been found in one media item, by analyzer; `truncated` holds the full counts of cut lists.

    `error` says why there is no more, where the item has failed.
    """

    uri: str
    error: str | None
    analyzers: dict[str, list[dict[str, Any]]]
    truncated: dict[str, int]


class Results(BaseModel):
    """What has been found so far, and the Parquet parts that hold all of it; `error`: why there is no more."""

    id: str
    state: str
    error: ErrorView | None
    media: list[MediaResults]
    parts: list[str]


class DeliveryView(BaseModel):
    """One call of a webhook: `state` is pending, delivered or given_up."""

    id: str
    event: str
    state: str
    attempts: int
    created_at: str
    next_at: str | None
    delivered_at: str | None
    last_status: int | None
    last_error: str | None


class DeliveryList(BaseModel):
    """The calls of an analysis's webhook, oldest first."""

    deliveries: list[DeliveryView]


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
