"""One-time join tokens: what a bought machine shows to become a node, once, before its deadline for joining."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.config.schema import ScalingSettings
from cluster.config.state_directory import write_private
from cluster.overlay.ssh import token_digest, token_knock

# With the default settings.
TOKEN_LIFETIME_S = ScalingSettings().join_window_s


class Refused(PermissionError):
    """The token is unknown, used, expired or belongs to another name."""


@dataclass(frozen=True)
class _Pending:
    digest: bytes
    expires_at: float


class Joins:
    """Issues and redeems tokens. Only digests are kept; in `path`, so that who boots while we restart gets in."""

    def __init__(
        self, clock: Callable[[], float], path: Path | None = None, lifetime_s: float = TOKEN_LIFETIME_S
    ) -> None:
        self._clock, self._path, self._lifetime_s = clock, path, lifetime_s
        self._pending = _load(path)
        self._reporters: dict[str, bytes] = {}

    def issue(self, name: str) -> str:
        """A token with which instance `name` can join once within the lifetime."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        self._pending = {n: pending for n, pending in self._pending.items() if pending.expires_at > now}
        self._pending[name] = _Pending(token_digest(token), now + self._lifetime_s)
        self._save()
        return token

    def expects(self, name: str, token: str) -> bool:
        """Whether `name` could join with this token now; it is not used up."""
        pending = self._pending.get(name)
        return (
            pending is not None
            and secrets.compare_digest(pending.digest, token_digest(token))
            and self._clock() <= pending.expires_at
        )

    def awaits(self, knock: str) -> bool:
        """Whether a machine with an unused, unexpired token would knock like this."""
        now = self._clock()
        return any(token_knock(each.digest) == knock for each in self._pending.values() if each.expires_at >= now)

    def redeem(self, name: str, token: str) -> str:
        """Use up `name`'s token; returns the token it reports its progress with. Raises Refused."""
        pending = self._pending.get(name)
        if pending is None or not secrets.compare_digest(pending.digest, token_digest(token)):
            raise Refused(f"no join is expected from {name} with this token")
        del self._pending[name]
        self._save()
        if self._clock() > pending.expires_at:
            raise Refused(f"the join token of {name} has expired")
        report_token = secrets.token_urlsafe(32)
        self._reporters[name] = token_digest(report_token)
        return report_token

    def check_report(self, name: str, report_token: str) -> None:
        """Raises Refused unless `report_token` is the one `name` was given."""
        expected = self._reporters.get(name)
        if expected is None or not secrets.compare_digest(expected, token_digest(report_token)):
            raise Refused(f"{name} may not report with this token")

    def _save(self) -> None:
        if self._path is not None:
            pending = {name: [p.digest.hex(), p.expires_at] for name, p in self._pending.items()}
            write_private(self._path, json.dumps(pending))


def _load(path: Path | None) -> dict[str, _Pending]:
    if path is None or not path.exists():
        return {}
    pending = json.loads(path.read_text(encoding="utf-8"))
    return {name: _Pending(bytes.fromhex(digest), expires_at) for name, (digest, expires_at) in pending.items()}
