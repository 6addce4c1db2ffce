"""API keys, straight in the deployment's database: `aima keys` needs no key, and no API that runs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cluster.config.schema import Settings
from cluster.storage.database import open_engine
from serve_apps.store.keys import ApiKey, Keys, Scope
from serve_apps.store.migrations import upgrade

_DAY_S = 86_400.0


class NoSuchKey(ValueError):
    """There is no key of this id that could be revoked."""


@contextmanager
def open_keys(settings: Settings) -> Iterator[Keys]:
    """The keys in the configured database."""
    engine = open_engine(settings.database_url)
    try:
        upgrade(engine)
        yield Keys(engine, time.time)
    finally:
        engine.dispose()


def create(
    keys: Keys,
    name: str,
    scopes: Sequence[Scope],
    requests_per_minute: int | None,
    budget_usd_per_month: float | None,
    valid_days: float | None,
) -> dict[str, Any]:
    """A new key as a report; `token` is in no other."""
    expires_at = None if valid_days is None else time.time() + valid_days * _DAY_S
    key, token = keys.create(name, scopes, requests_per_minute, budget_usd_per_month, expires_at)
    return report(key) | {"token": token}


def revoke(keys: Keys, key_id: str) -> None:
    """End a key. Raises NoSuchKey."""
    if not keys.revoke(key_id):
        raise NoSuchKey(f"{key_id}: there is no such key, or it was revoked before; `aima keys list` shows them")


def report(key: ApiKey) -> dict[str, Any]:
    """A key as people and scripts see it; times are ISO 8601 in UTC."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "requests_per_minute": key.requests_per_minute,
        "budget_usd_per_month": key.budget_usd_per_month,
        "created_at": _iso(key.created_at),
        "expires_at": _iso(key.expires_at),
        "revoked_at": _iso(key.revoked_at),
    }


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
