"""One-time join tokens: what a bought machine shows to become a node, once, within minutes."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

TOKEN_LIFETIME_S = 900.0


class Refused(PermissionError):
    """The token is unknown, used, expired or belongs to another name."""


@dataclass(frozen=True)
class _Pending:
    digest: bytes
    expires_at: float


class Joins:
    """Issues and redeems tokens. Only digests are kept."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._reporters: dict[str, bytes] = {}

    def issue(self, name: str) -> str:
        """A token with which instance `name` can join once within 15 minutes."""
        token = secrets.token_urlsafe(32)
        self._pending[name] = _Pending(_digest(token), self._clock() + TOKEN_LIFETIME_S)
        return token

    def redeem(self, name: str, token: str) -> str:
        """Use up `name`'s token; returns the token it reports its progress with. Raises Refused."""
        pending = self._pending.get(name)
        if pending is None or not secrets.compare_digest(pending.digest, _digest(token)):
            raise Refused(f"no join is expected from {name} with this token")
        del self._pending[name]
        if self._clock() > pending.expires_at:
            raise Refused(f"the join token of {name} has expired")
        report_token = secrets.token_urlsafe(32)
        self._reporters[name] = _digest(report_token)
        return report_token

    def check_report(self, name: str, report_token: str) -> None:
        """Raises Refused unless `report_token` is the one `name` was given."""
        expected = self._reporters.get(name)
        if expected is None or not secrets.compare_digest(expected, _digest(report_token)):
            raise Refused(f"{name} may not report with this token")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
