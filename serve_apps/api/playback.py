"""Addresses at which a browser can play a media item: a <video> cannot send a key, so the address carries a proof.

The proof is an HMAC over the item and its end, with a secret of this process: nobody else can make one, it opens one
item for an hour, and a restart ends it.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

LIFETIME_S = 3600


@dataclass(frozen=True)
class Signer:
    """Makes and checks proofs."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def sign(self, analysis_id: str, index: int, now: float) -> tuple[int, str]:
        """(the epoch second at which it ends, the proof) for a media item of an analysis."""
        expires = int(now) + LIFETIME_S
        return expires, self._proof(analysis_id, index, expires)

    def is_valid(self, analysis_id: str, index: int, expires: int, proof: str, now: float) -> bool:
        """Whether the proof is ours, for just this item, and has not ended."""
        ours = self._proof(analysis_id, index, expires)
        return hmac.compare_digest(ours.encode(), proof.encode()) and now < expires

    def _proof(self, analysis_id: str, index: int, expires: int) -> str:
        message = f"{analysis_id}/{index}/{expires}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()
