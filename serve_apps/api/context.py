"""What the routes work with, and the decisions that several of them share. What waits for disk or database runs in
threads: the functions without `async` here."""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from pipelines.errors import InvalidOption
from pipelines.media.addresses import shown
from serve_apps.api import views
from serve_apps.api.analyzer_catalog import Catalog
from serve_apps.api.auth import Gate
from serve_apps.api.event_hub import EventHub
from serve_apps.api.media_policy import MediaPolicy, MediaRefused
from serve_apps.api.problems import ProblemError, printable, refuse_fields
from serve_apps.api.schemas import AnalysisRequest, AnalysisView, FieldProblem, WebhookRequest
from serve_apps.monitoring.metrics import Memory, Metrics
from serve_apps.monitoring.traces import Traces
from serve_apps.results.objects import Objects
from serve_apps.search.documents import Documents
from serve_apps.store.analysis_store import Analysis, IdempotencyConflict, Store, Submission
from serve_apps.store.credentials import Credentials
from serve_apps.store.keys import ROOT, ApiKey, Keys
from serve_apps.store.lifecycle import Lifecycle
from serve_apps.store.spending import month_start
from serve_apps.store.uploads import Uploads, UploadState
from serve_apps.work.fair_pool import FairPool
from serve_apps.work.pricing import Pricing

Fleet = Callable[[], Awaitable[dict[str, Any]]]


async def _no_fleet_metrics() -> bytes:
    return b""


ANALYSIS_ID = re.compile(r"an_[0-9a-f]{16}", re.ASCII)
UPLOAD_ID = re.compile(r"up_[0-9a-f]{16}", re.ASCII)
_DAY_S = 86_400.0
# A stream is a request that lasts: together they stay below what Serve lets in, so that others are answered.
MOST_STREAMS, MOST_STREAMS_OF_ONE_KEY = 1000, 200


@dataclass(frozen=True)
class Service:
    """Everything the API stands on. `fleet` answers the orchestrator's view, `fleet_metrics` its exposition;
    `submitted` is called in the event loop after a request was stored."""

    store: Store
    lifecycle: Lifecycle
    documents: Documents
    uploads: Uploads
    objects: Objects
    keys: Keys
    gate: Gate
    hub: EventHub
    fleet: Fleet
    catalog: Catalog
    policy: MediaPolicy
    submitted: Callable[[str], None]
    credentials: Credentials
    pricing: Pricing = field(default_factory=Pricing)
    keep_days: float | None = None
    metrics: Metrics = field(default_factory=Metrics)
    traces: Traces = field(default_factory=Traces)
    fleet_metrics: Callable[[], Awaitable[bytes]] = _no_fleet_metrics
    head_memory: Callable[[], Memory | None] = lambda: None
    # Where requests are checked: that asks the resolver for strangers' names, which may be slow on purpose.
    door: FairPool = field(default_factory=lambda: FairPool(16, 4, "door"))

    def readable(self, uri: str) -> str:
        """A stored URI as a reader opens it: with its credentials, or presigned. Raises MediaError."""
        return self.objects.readable(self.policy.readable(self.credentials.open(uri)))

    async def describe(self, analyses: Sequence[Analysis]) -> list[AnalysisView]:
        """Views of analyses, as they stand now."""
        return await asyncio.to_thread(views.describe, self.store, await self.fleet(), analyses, self.pricing)

    async def view(self, analysis_id: str) -> AnalysisView:
        """One analysis's view. Raises the 404."""
        found = await self.describe([await self.existing(analysis_id)])
        return found[0] if found else self.missing(analysis_id)

    async def views_as_json(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The views of those analyses that exist, each as JSON; one way into a thread for all."""
        fleet = await self.fleet()

        def read() -> dict[str, bytes]:
            found = views.describe_by_id(self.store, fleet, ids, self.pricing)
            return {key: view.model_dump_json().encode() for key, view in found.items()}

        return await asyncio.to_thread(read)

    async def existing(self, analysis_id: str) -> Analysis:
        """The analysis. Raises the 404."""
        return await asyncio.to_thread(self._existing, analysis_id)

    def _existing(self, analysis_id: str) -> Analysis:
        analysis = self.store.get(analysis_id) if ANALYSIS_ID.fullmatch(analysis_id) else None
        return analysis or self.missing(analysis_id)

    def admit_stream(self, key: ApiKey) -> None:
        """Raises the 429 for a key that has as many open streams and waiting calls as it may, and the 503 for all."""
        most = MOST_STREAMS if key.id == ROOT.id else MOST_STREAMS_OF_ONE_KEY
        if self.hub.streams_of(key.id) >= most:
            detail = f"the key {key.name!r} has {most} open streams: close one, or ask for the analysis now and then"
            raise ProblemError(429, detail, headers={"Retry-After": "5"})
        if self.hub.open_streams >= MOST_STREAMS:
            raise ProblemError(503, f"{MOST_STREAMS} streams are open", headers={"Retry-After": "5"})

    def missing(self, analysis_id: str) -> NoReturn:
        """Raises the 404."""
        name = printable(analysis_id)
        problem = FieldProblem(field="id", value=name, detail="GET /v1/analyses lists what there is")
        raise ProblemError(404, f"there is no analysis {name!r}", [problem])

    def submit(
        self, request: AnalysisRequest, idempotency_key: str | None, by: ApiKey, traceparent: str = ""
    ) -> tuple[Analysis, bool]:
        """Store the request; False if its key had stored it before. Raises the 402, the 409 and the 422."""
        digest = _digest(request)
        # Idempotency keys of different API keys are different: nobody replays another's request by a lucky guess.
        own = idempotency_key if by.id == ROOT.id or idempotency_key is None else f"{by.id}/{idempotency_key}"
        try:
            # Before the files are looked at: a retry is answered even when they are gone by now.
            if (earlier := self.store.replay(own, digest)) is not None:
                return earlier, False
            self._check_budget(by)
            asked = self._submission(request, own, digest, by)
            return self.store.create(replace(asked, traceparent=traceparent or None))
        except IdempotencyConflict as error:
            detail = "use a new key for a new request"
            problem = FieldProblem(field="Idempotency-Key", value=printable(idempotency_key), detail=detail)
            said = f"Idempotency-Key {printable(idempotency_key)!r} belongs to {error.analysis_id}, which was asked"
            raise ProblemError(409, f"{said} for with another body; {detail}", [problem]) from None

    def _submission(self, request: AnalysisRequest, idempotency_key: str | None, digest: str, by: ApiKey) -> Submission:
        media, analyzers, options = self.checked(request, by)
        keep_days = self.keep_days if request.keep_days is None else request.keep_days
        hook = request.webhook
        return Submission(
            media=[self.credentials.seal(uri) for uri in media],
            analyzers=analyzers,
            options=options,
            body_sha256=digest,
            idempotency_key=idempotency_key,
            priority=request.priority,
            labels=request.labels,
            budget_usd=request.budget_usd,
            webhook=None if hook is None else self._stored_webhook(hook),
            key_id=None if by.id == ROOT.id else by.id,
            expires_at=None if keep_days is None else self.store.now() + keep_days * _DAY_S,
        )

    def _stored_webhook(self, hook: WebhookRequest) -> dict[str, str]:
        url = self.credentials.seal(self.policy.check_webhook(hook.url))
        return {"url": url, "secret": hook.secret.get_secret_value()}

    def checked(self, request: AnalysisRequest, by: ApiKey) -> tuple[list[str], list[str], dict[str, dict[str, Any]]]:
        """The media, the analyzers and their options. Raises the 422 with every wrong value in it."""
        wrong: list[FieldProblem] = []
        options: dict[str, dict[str, Any]] = {}
        for index, choice in enumerate(request.analyzers):
            if choice.name not in self.catalog.analyzers:
                reason = f"unknown analyzer; allowed: {', '.join(self.catalog.analyzers)}"
                wrong.append(_wrong(f"analyzers[{index}]", choice.name, reason))
                continue
            try:
                options[choice.name] = dict(self.catalog.check_options(choice.name, choice.options))
            except InvalidOption as error:
                wrong.append(_wrong(f"analyzers[{index}].options.{error.option}", error.value, error.reason))
            except ValueError as error:
                wrong.append(_wrong(f"analyzers[{index}].options", choice.options, str(error)))
        media = self._checked_media(request.media, by, wrong)
        if request.webhook is not None:
            try:
                self.policy.check_webhook(request.webhook.url)
            except MediaRefused as error:
                wrong.append(_wrong("webhook.url", shown(request.webhook.url), str(error)))
        if wrong:
            raise refuse_fields(wrong)
        return media, list(options), {name: given for name, given in options.items() if given}

    def _checked_media(self, named: Sequence[str], by: ApiKey, wrong: list[FieldProblem]) -> list[str]:
        others = [uri for uri in named if not UPLOAD_ID.fullmatch(uri)]
        judged = iter(self.policy.check_all(others, by_owner=by.id == ROOT.id))
        checked = []
        for index, uri in enumerate(named):
            try:
                checked.append(self._uploaded(uri) if UPLOAD_ID.fullmatch(uri) else next(judged).uri)
            except MediaRefused as error:
                wrong.append(_wrong(f"media[{index}]", shown(uri), str(error)))
        return checked

    def _uploaded(self, upload_id: str) -> str:
        upload = self.uploads.get(upload_id)
        if upload is None:
            raise MediaRefused("there is no such upload; POST /v1/uploads begins one")
        if upload.state is not UploadState.COMPLETE:
            raise MediaRefused(f"the upload is not complete; POST /v1/uploads/{upload_id}/complete")
        return upload.uri

    def _check_budget(self, key: ApiKey) -> None:
        if key.budget_usd_per_month is None:
            return
        spent = self.keys.spent_usd(key.id, month_start(self.store.now()))
        if spent >= key.budget_usd_per_month:
            detail = f"the key {key.name!r} has spent {spent:.2f} of its {key.budget_usd_per_month:.2f} USD this month"
            raise ProblemError(402, f"{detail}; what it asked for goes on, new requests need another key")


def _digest(request: AnalysisRequest) -> str:
    body = request.model_dump(mode="json", exclude_defaults=True)
    if request.webhook is not None:
        body["webhook"]["secret"] = request.webhook.secret.get_secret_value()
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _wrong(field: str, value: Any, reason: str) -> FieldProblem:
    shown = printable(value)
    return FieldProblem(field=field, value=shown, detail=f"{field} = {shown!r}: {reason}")
