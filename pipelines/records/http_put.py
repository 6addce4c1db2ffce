"""Writes a file to an address that takes it: a presigned URL, whose query is a secret and is never told."""

import re
import time
from collections.abc import Callable

import httpx

from pipelines.errors import file_name

_TIMEOUT_S = 60.0
_PAUSES_S = (0.5, 2.0)  # before the second and the third try
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")


def put_http(data: bytes, url: str, content_type: str, pause: Callable[[float], None] = time.sleep) -> None:
    """PUT the bytes; what is cut or refused for now is tried again. Raises OSError in words for people."""
    said = ""
    with httpx.Client(timeout=_TIMEOUT_S) as client:
        for wait_s in (*_PAUSES_S, None):
            try:
                reply = client.put(url, content=data, headers={"Content-Type": content_type})
            except httpx.HTTPError as error:
                said = f"reaching it failed: {type(error).__name__}"
            else:
                if reply.is_success:
                    return
                said = f"the storage answers {reply.status_code} {_reason(reply)}"
                if reply.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    break  # it will say the same again
            if wait_s is not None:
                pause(wait_s)
    raise OSError(f"{file_name(url)} could not be written: {said}")


def _reason(reply: httpx.Response) -> str:
    """S3's own word for it, else HTTP's."""
    code = _CODE.search(reply.text)
    return code[1] if code else reply.reason_phrase
