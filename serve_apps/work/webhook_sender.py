"""Calls webhooks: what is due is in the database, written in the transaction that ended the analysis."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import Engine, select, update

from pipelines.errors import MediaError
from pipelines.media.addresses import shown
from pipelines.redaction import without_secrets
from serve_apps.api.views import iso
from serve_apps.store.tables import analyses, webhook_deliveries, writing
from serve_apps.work.webhooks import GIVE_UP_AFTER_S, SIGNATURE_HEADER, body, retry_after_s, signature

_d = webhook_deliveries.c
_AT_ONCE, _OF_ONE_KEY, _OF_ONE_RECEIVER = 20, 8, 4
# A call in all, however slowly its receiver answers; and how often to look for more while calls are under way.
_TOTAL_S, _LOOK_EVERY_S = 10.0, 0.5
_PAGE, _MOST_PAGES = 100, 20
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
    key_id: str

    @property
    def receiver(self) -> str:
        """Whom it calls: scheme, host and port."""
        return shown(self.url).partition("?")[0].split("/", 3)[2]


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
        """Make the calls that are due, and those that become due meanwhile; returns how many there were."""
        sent, running = 0, dict[asyncio.Task[None], _Due]()
        while True:
            due = await asyncio.to_thread(self._claim, list(running.values()))
            running |= {asyncio.create_task(self._send(one)): one for one in due}
            sent += len(due)
            if not running:
                return sent
            done, _left = await asyncio.wait(running, timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del running[task]
                task.result()

    async def _send(self, due: _Due) -> None:
        content = body(due.event, due.id, due.analysis_id, iso(due.created_at))
        signed = signature(due.secret, content, int(self._clock()))
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signed}
        status, error = None, None
        try:
            async with (
                asyncio.timeout(_TOTAL_S),
                self._client.stream("POST", self._opened(due.url), content=content, headers=headers) as reply,
            ):
                status = reply.status_code
            if not 200 <= status < 300:
                error = f"HTTP {status}: 2xx is needed, redirects are not followed"
        except TimeoutError:
            error = f"no answer within {_TOTAL_S:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, MediaError, ValueError) as problem:
            error = without_secrets(f"{type(problem).__name__}: {problem}")[:_HEARD_BYTES]
        await asyncio.to_thread(self._record, due, status, error)

    def _claim(self, running: Sequence[_Due]) -> list[_Due]:
        """What is due and may be called beside those, oldest first."""
        now, chosen = self._clock(), list[_Due]()
        turn = select(webhook_deliveries).where(_d.state == "pending", _d.next_at <= now).order_by(_d.next_at)
        with writing(self._engine) as connection:
            for page in range(_MOST_PAGES):
                window = turn.offset(page * _PAGE).limit(_PAGE).with_for_update(skip_locked=True)
                rows = connection.execute(window).all()
                chosen += _allowed(self._due(connection, rows), [*running, *chosen])
                if len(rows) < _PAGE or len(chosen) + len(running) >= _AT_ONCE:
                    break
            ids = [one.id for one in chosen]
            connection.execute(update(webhook_deliveries).where(_d.id.in_(ids)).values(next_at=now + _LEASE_S))
        return chosen

    def _due(self, connection: Any, rows: Sequence[Any]) -> list[_Due]:
        hooks = self._hooks(connection, {row.analysis_id for row in rows})
        return [
            _Due(row.id, row.analysis_id, row.event, row.created_at, row.attempts, **hooks[row.analysis_id])
            for row in rows
        ]

    def _hooks(self, connection: Any, ids: set[str]) -> dict[str, dict[str, str]]:
        a = analyses.c
        found = connection.execute(select(a.id, a.webhook, a.key_id).where(a.id.in_(ids)))
        return {
            row.id: {"url": row.webhook["url"], "secret": row.webhook["secret"], "key_id": row.key_id or ""}
            for row in found
        }

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


def _allowed(due: Sequence[_Due], running: Sequence[_Due]) -> list[_Due]:
    """Those of the due calls that may be made beside the running ones, in their order."""
    keys, receivers = Counter(one.key_id for one in running), Counter(one.receiver for one in running)
    chosen: list[_Due] = []
    for one in due:
        free = keys[one.key_id] < _OF_ONE_KEY and receivers[one.receiver] < _OF_ONE_RECEIVER
        if free and len(chosen) + len(running) < _AT_ONCE:
            keys[one.key_id] += 1
            receivers[one.receiver] += 1
            chosen.append(one)
    return chosen
