"""Who is calling: a bearer token to a key, its scope and its rate. Every route but health asks here."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serve_apps.api.problems import ProblemError
from serve_apps.store.keys import ROOT, ApiKey, Keys, Scope

# How long a key is remembered: so long may a revoked one still be let in.
_REMEMBERED_S = 3.0
_MOST_REMEMBERED = 10_000
# Tokens that nobody knows: so many a minute of one source, each asks the database. A client that has a good key and
# shares the source, such as a proxy, is let in all the same: who was let in lately is known.
_FAILURES_PER_MINUTE = 30
_LET_IN_LATELY_S = 3600.0
T = TypeVar("T")
_bearer = HTTPBearer(auto_error=False, description="An API key (`aima keys create`), or the deployment's own token.")
Given = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass
class _Bucket:
    """A full bucket is a minute's requests; it fills evenly."""

    tokens: float
    filled_at: float

    def take(self, per_minute: int, now: float) -> float:
        """Take one; the seconds to wait if there is none."""
        wait_s = self.wait_s(per_minute, now)
        if not wait_s:
            self.tokens -= 1
        return wait_s

    def wait_s(self, per_minute: int, now: float) -> float:
        """The seconds to wait until there is one."""
        self.tokens = min(float(per_minute), self.tokens + (now - self.filled_at) * per_minute / 60)
        self.filled_at = now
        return max(0.0, (1 - self.tokens) * 60 / per_minute)


class Gate:
    """Lets holders of valid keys in. Rates are counted in this process: it is the only one that serves the API."""

    def __init__(self, keys: Keys, root_token: str, clock: Callable[[], float]) -> None:
        self._keys, self._clock = keys, clock
        self._root = root_token.encode()
        self._remembered: dict[str, tuple[float, ApiKey | None]] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._failures: dict[str, _Bucket] = {}
        self._let_in: dict[str, float] = {}

    async def admit(self, authorization: str, source: str) -> ApiKey:
        """The key of an Authorization header. Raises the 401, and the 429 for a source that has tried too many."""
        kind, _, token = authorization.partition(" ")
        key = None
        if kind.lower() == "bearer" and token:
            self._check_source(token, source)
            key = await self._find(token)
        if key is None:
            self._failed(source)
            detail = "a valid key is needed: Authorization: Bearer <key>"
            raise ProblemError(401, detail, headers={"WWW-Authenticate": "Bearer"})
        self._keep(self._let_in, _digest(token), self._clock())
        return key

    def _check_source(self, token: str, source: str) -> None:
        """Raises the 429 before the database is asked."""
        bucket, now = self._failures.get(source), self._clock()
        if (
            bucket is None
            or self._is_root(token)
            or now - self._let_in.get(_digest(token), float("-inf")) < _LET_IN_LATELY_S
        ):
            return
        if (wait_s := bucket.wait_s(_FAILURES_PER_MINUTE, now)) > 0:
            detail = f"too many keys were tried that are not valid; wait {wait_s:.0f} s"
            raise ProblemError(429, detail, headers={"Retry-After": str(int(wait_s) + 1)})

    def _failed(self, source: str) -> None:
        now = self._clock()
        if source not in self._failures:
            self._keep(self._failures, source, _Bucket(float(_FAILURES_PER_MINUTE), now))
        self._failures[source].take(_FAILURES_PER_MINUTE, now)

    def _keep(self, kept: dict[str, T], name: str, value: T) -> None:
        """Remember it; the oldest goes when there are too many."""
        if name not in kept and len(kept) >= _MOST_REMEMBERED:
            del kept[next(iter(kept))]
        kept[name] = value

    def requires(self, scope: Scope) -> Callable[..., Any]:
        """A dependency that answers the caller's key, or refuses: 401 no valid key, 403 not this, 429 not so often."""

        async def check(request: Request, _given: Given) -> ApiKey:
            source = request.client.host if request.client else ""
            admitted = request.scope.get("aima.key")  # by the middleware, before the body was read
            key: ApiKey = admitted or await self.admit(request.headers.get("authorization", ""), source)
            if not key.allows(scope):
                held = ", ".join(sorted(key.scopes))
                raise ProblemError(403, f"the key {key.name!r} may {held}; this needs a key with the scope {scope}")
            self._count(key)
            return key

        return check

    def _is_root(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self._root)

    async def _find(self, token: str) -> ApiKey | None:
        if self._is_root(token):
            return ROOT
        digest, now = _digest(token), self._clock()
        known = self._remembered.get(digest)
        if known is None or now - known[0] > _REMEMBERED_S:
            known = (now, await asyncio.to_thread(self._keys.find, token))
            self._keep(self._remembered, digest, known)
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


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
