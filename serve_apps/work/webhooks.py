"""What a webhook's call says, how it is signed, and when it is tried again. Values in, values out."""

import hashlib
import hmac
import json
from typing import Any

SIGNATURE_HEADER = "AIMA-Signature"
GIVE_UP_AFTER_S = 24 * 3600.0
_FIRST_RETRY_S = 10.0
_LONGEST_RETRY_S = 3600.0


def body(event: str, delivery_id: str, analysis_id: str, at: str) -> bytes:
    """The call's body: what has happened to what; the receiver asks the API for the rest."""
    told: dict[str, Any] = {"event": f"analysis.{event}", "id": delivery_id, "analysis_id": analysis_id, "at": at}
    return json.dumps(told | {"links": {"self": f"/v1/analyses/{analysis_id}"}}).encode()


def signature(secret: str, content: bytes, at: int) -> str:
    """The header's value: t=<unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>" in hex>."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + content, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


def verify(secret: str, content: bytes, header: str, now: float, tolerance_s: float = 300.0) -> bool:
    """For receivers: whether a call is ours and fresh."""
    fields = dict(part.partition("=")[::2] for part in header.split(","))
    at = fields.get("t", "")
    if not at.isdecimal() or abs(now - int(at)) > tolerance_s:
        return False
    return hmac.compare_digest(signature(secret, content, int(at)).encode(), header.encode())


def retry_after_s(attempts: int) -> float:
    """Seconds until the next try after so many failures: 10, doubling, at most an hour."""
    return min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(max(0, attempts - 1), 20))
