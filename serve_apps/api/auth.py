"""Who is calling: a bearer token to a key, its scope and its rate. Every route but health asks here."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serve_apps.api.problems import ProblemError
from serve_apps.store.keys import ROOT, ApiKey, Keys, Scope

# How long a key is remembered: so long may a revoked one still be let in.
_REMEMBERED_S = 3.0
_MOST_REMEMBERED = 10_000
_bearer = HTTPBearer(auto_error=False, description="An API key (`aima keys create`), or the deployment's own token.")
Given = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass
class _Bucket:
    """A full bucket is a minute's requests; it fills evenly."""

    tokens: float
    filled_at: float

    def take(self, per_minute: int, now: float) -> float:
        """Take one; the seconds to wait if there is none."""
        self.tokens = min(float(per_minute), self.tokens + (now - self.filled_at) * per_minute / 60)
        self.filled_at = now
        if self.tokens < 1:
            return (1 - self.tokens) * 60 / per_minute
        self.tokens -= 1
        return 0.0


class Gate:
    """Lets holders of valid keys in. Rates are counted in this process: it is the only one that serves the API."""

    def __init__(self, keys: Keys, root_token: str, clock: Callable[[], float]) -> None:
        self._keys, self._clock = keys, clock
        self._root = root_token.encode()
        self._remembered: dict[str, tuple[float, ApiKey | None]] = {}
        self._buckets: dict[str, _Bucket] = {}

    def requires(self, scope: Scope) -> Callable[..., Any]:
        """A dependency that answers the caller's key, or refuses: 401 no valid key, 403 not this, 429 not so often."""

        async def check(given: Given) -> ApiKey:
            key = None if given is None else await self._find(given.credentials)
            if key is None:
                detail = "a valid key is needed: Authorization: Bearer <key>"
                raise ProblemError(401, detail, headers={"WWW-Authenticate": "Bearer"})
            if not key.allows(scope):
                held = ", ".join(sorted(key.scopes))
                raise ProblemError(403, f"the key {key.name!r} may {held}; this needs a key with the scope {scope}")
            self._count(key)
            return key

        return check

    async def _find(self, token: str) -> ApiKey | None:
        if secrets.compare_digest(token.encode(), self._root):
            return ROOT
        digest, now = hashlib.sha256(token.encode()).hexdigest(), self._clock()
        known = self._remembered.get(digest)
        if known is None or now - known[0] > _REMEMBERED_S:
            known = (now, await asyncio.to_thread(self._keys.find, token))
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = known
        key = known[1]
        return key if key is not None and key.is_valid(now) else None

    def _count(self, key: ApiKey) -> None:
        if key.requests_per_minute is None:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(key.id, _Bucket(float(key.requests_per_minute), now))
        if (wait_s := bucket.take(key.requests_per_minute, now)) > 0:
            detail = f"the key {key.name!r} may ask {key.requests_per_minute} times a minute; wait {wait_s:.1f} s"
            raise ProblemError(429, detail, headers={"Retry-After": str(int(wait_s) + 1)})
