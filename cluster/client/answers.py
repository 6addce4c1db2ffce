"""Between calls and httpx: a call as a request, an answer as a value or an error. No I/O."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from cluster.client.calls import Call
from cluster.client.errors import ApiError, Unreachable
from cluster.client.retrying import GIVE_UP_AFTER_S, is_transient

T = TypeVar("T")


def as_method(send: Callable[..., T], build: Callable[..., Any]) -> Callable[..., T]:
    """`send` with the signature of `build` behind `self`, so that `help` and editors show it."""
    signature = inspect.signature(build)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    send.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[itself, *signature.parameters.values()]
    )
    return send


def request_of(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    """The call as httpx sends it. Another host, such as a presigned URL's, does not get our key."""
    request = http.build_request(
        call.method,
        call.path,
        params=dict(call.params),
        json=call.json,
        content=call.content,
        headers=dict(call.headers),
    )
    if request.url.netloc != http.base_url.netloc:
        del request.headers["Authorization"]
    return request


def accepted(reply: httpx.Response | None, trouble: Exception | None, api_url: str) -> httpx.Response:
    """The answer. Raises ApiError for a refusal, Unreachable for none."""
    if reply is None:
        raise Unreachable(f"{api_url} does not answer ({type(trouble).__name__}: {trouble}); is the cluster up?")
    if reply.is_error:
        raise refusal(reply)
    return reply


def refusal(reply: httpx.Response) -> ApiError:
    """The problem in an answer."""
    try:
        problem = dict(reply.json())
    except ValueError:
        problem = {"detail": reply.text[:500]}
    return ApiError(reply.status_code, problem)


def give_up_unless_transient(error: Exception, broken_s: float, api_url: str) -> None:
    """Raise when reading a stream again will not help: the API refused it, or is away for too long."""
    if isinstance(error, ApiError):
        if not is_transient(error.status) or broken_s > GIVE_UP_AFTER_S:
            raise error
    elif broken_s > GIVE_UP_AFTER_S:
        raise Unreachable(f"{api_url} does not answer any more ({type(error).__name__}: {error})") from error
