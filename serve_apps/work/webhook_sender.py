"""Calls webhooks: what is due is in the database, written in the transaction that ended the analysis."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import Engine, select, update

from pipelines.errors import MediaError
from pipelines.redaction import without_secrets
from serve_apps.api.views import iso
from serve_apps.store.tables import analyses, webhook_deliveries, writing
from serve_apps.work.webhooks import GIVE_UP_AFTER_S, SIGNATURE_HEADER, body, retry_after_s, signature

_d = webhook_deliveries.c
_AT_ONCE = 10
_LEASE_S = 60.0
_HEARD_BYTES = 200


@dataclass(frozen=True)
class _Due:
    id: str
    analysis_id: str
    event: str
    created_at: float
    attempts: int
    url: str
    secret: str


class WebhookSender:
    """Sends what is due, some at once. A call may come twice (after a crash): receivers look at its id."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        client: httpx.AsyncClient,
        opened: Callable[[str], str] = str,
    ) -> None:
        """`opened`: the URL to call for a stored one, whose credentials are sealed."""
        self._engine, self._clock, self._client, self._opened = engine, clock, client, opened

    async def send_some(self) -> int:
        """Make the calls that are due; returns how many there were."""
        due = await asyncio.to_thread(self._claim)
        await asyncio.gather(*(self._send(one) for one in due))
        return len(due)

    async def _send(self, due: _Due) -> None:
        content = body(due.event, due.id, due.analysis_id, iso(due.created_at))
        signed = signature(due.secret, content, int(self._clock()))
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signed}
        status, error = None, None
        try:
            async with self._client.stream("POST", self._opened(due.url), content=content, headers=headers) as reply:
                status = reply.status_code
            if not 200 <= status < 300:
                error = f"HTTP {status}: 2xx is needed, redirects are not followed"
        except (httpx.HTTPError, httpx.InvalidURL, MediaError, ValueError) as problem:
            error = without_secrets(f"{type(problem).__name__}: {problem}")[:_HEARD_BYTES]
        await asyncio.to_thread(self._record, due, status, error)

    def _claim(self) -> list[_Due]:
        now = self._clock()
        turn = select(webhook_deliveries).where(_d.state == "pending", _d.next_at <= now).order_by(_d.next_at)
        with writing(self._engine) as connection:
            rows = connection.execute(turn.limit(_AT_ONCE).with_for_update(skip_locked=True)).all()
            ids = [row.id for row in rows]
            connection.execute(update(webhook_deliveries).where(_d.id.in_(ids)).values(next_at=now + _LEASE_S))
            hooks = self._hooks(connection, {row.analysis_id for row in rows})
        return [
            _Due(row.id, row.analysis_id, row.event, row.created_at, row.attempts, **hooks[row.analysis_id])
            for row in rows
        ]

    def _hooks(self, connection: Any, ids: set[str]) -> dict[str, dict[str, str]]:
        found = connection.execute(select(analyses.c.id, analyses.c.webhook).where(analyses.c.id.in_(ids)))
        return {row.id: {"url": row.webhook["url"], "secret": row.webhook["secret"]} for row in found}

    def _record(self, due: _Due, status: int | None, error: str | None) -> None:
        now, attempts = self._clock(), due.attempts + 1
        values: dict[str, Any] = {"attempts": attempts, "last_status": status, "last_error": error}
        if error is None:
            values |= {"state": "delivered", "delivered_at": now, "next_at": None}
        elif (again := now + retry_after_s(attempts)) - due.created_at > GIVE_UP_AFTER_S:
            values |= {"state": "given_up", "next_at": None}
        else:
            values |= {"next_at": again}
        with writing(self._engine) as connection:
            connection.execute(update(webhook_deliveries).where(_d.id == due.id).values(values))
