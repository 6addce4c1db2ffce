"""API keys: who may do what, how often and for how much. Secrets are stored as hashes only."""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, func, select, update

from serve_apps.store.tables import analyses, api_keys, reading, writing

_TOKEN = re.compile(r"aima_(ak_[0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
_k = api_keys.c


class Scope(StrEnum):
    """What a key may do. ADMIN may do everything, erasing and exporting too."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret. Times are epoch seconds."""

    id: str
    name: str
    scopes: frozenset[Scope]
    requests_per_minute: int | None
    budget_usd_per_month: float | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def allows(self, scope: Scope) -> bool:
        """Whether the key may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def is_valid(self, now: float) -> bool:
        """Whether it is neither revoked nor past its time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


# The deployment's own token: valid before there is any key.
ROOT = ApiKey("root", "the deployment's token", frozenset(Scope), None, None, 0.0, None, None)


class Keys:
    """The keys in the database."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock

    def create(
        self,
        name: str,
        scopes: Iterable[Scope],
        requests_per_minute: int | None = None,
        budget_usd_per_month: float | None = None,
        expires_at: float | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and its token: the only moment at which anybody sees it."""
        key_id, secret = f"ak_{secrets.token_hex(8)}", secrets.token_hex(32)
        row = {
            "id": key_id,
            "name": name,
            "secret_sha256": _hash(secret),
            "scopes": sorted(scope.value for scope in scopes),
            "requests_per_minute": requests_per_minute,
            "budget_usd_per_month": budget_usd_per_month,
            "created_at": self._clock(),
            "expires_at": expires_at,
        }
        with writing(self._engine) as connection:
            connection.execute(api_keys.insert().values(row))
            made = connection.execute(select(api_keys).where(_k.id == key_id)).one()
        return _as_key(made), f"aima_{key_id}_{secret}"

    def all(self) -> list[ApiKey]:
        """Every key that was ever made, oldest first."""
        with reading(self._engine) as connection:
            return [_as_key(row) for row in connection.execute(select(api_keys).order_by(_k.created_at))]

    def revoke(self, key_id: str) -> bool:
        """End it for good. False if there is no such key, or it was revoked before."""
        ending = update(api_keys).where(_k.id == key_id, _k.revoked_at.is_(None)).values(revoked_at=self._clock())
        with writing(self._engine) as connection:
            return connection.execute(ending).rowcount > 0

    def find(self, token: str) -> ApiKey | None:
        """The key of a token; None if it is no key's, or its key is not valid any more."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        with reading(self._engine) as connection:
            row = connection.execute(select(api_keys).where(_k.id == parts[1])).one_or_none()
        if row is None or not secrets.compare_digest(row.secret_sha256, _hash(parts[2])):
            return None
        key = _as_key(row)
        return key if key.is_valid(self._clock()) else None

    def spent_usd(self, key_id: str, since: float) -> float:
        """What the key's analyses asked for since then (epoch seconds) have cost so far."""
        a = analyses.c
        total = select(func.sum(a.cost_usd)).where(a.key_id == key_id, a.created_at >= since)
        with reading(self._engine) as connection:
            return float(connection.execute(total).scalar() or 0.0)


def _hash(secret: str) -> str:
    # Plain SHA-256: the secret has 256 random bits, nothing that a slow hash would protect from guessing.
    return hashlib.sha256(secret.encode()).hexdigest()


def _as_key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        requests_per_minute=row.requests_per_minute,
        budget_usd_per_month=row.budget_usd_per_month,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
