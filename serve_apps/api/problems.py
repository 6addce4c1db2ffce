"""Errors as application/problem+json (RFC 9457): they name the field, the value and the way out."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from pipelines.redaction import without_secrets
from serve_apps.api.schemas import FieldProblem, Problem

_log = logging.getLogger(__name__)
_MAX_VALUE_LENGTH = 200
_MEDIA_TYPE = "application/problem+json"
_OF_EVERY_ROUTE = (400, 401, 403, 422, 429, 503)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the problems that every route may answer, and these."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in (*_OF_EVERY_ROUTE, *statuses)
    }


PROBLEM_RESPONSES = responses()


class ProblemError(Exception):
    """A request that cannot be served; becomes a problem response."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), headers


def refuse_fields(errors: Sequence[FieldProblem]) -> ProblemError:
    """The 422 for well-formed but wrong values."""
    return ProblemError(422, "; ".join(error.detail for error in errors[:3]), errors)


def refuse_invalid(error: ValidationError) -> ProblemError:
    """The 422 for a body that a route has read itself, naming every wrong field."""
    return refuse_fields(
        [
            FieldProblem(field=".".join(map(str, e["loc"])) or "body", value=printable(e["input"]), detail=e["msg"])
            for e in error.errors()
        ]
    )


def install(app: FastAPI) -> None:
    """Make every error of the app a problem response."""

    @app.exception_handler(ProblemError)
    async def refused(_request: Request, error: ProblemError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return _from_validation(error.errors())

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's own, for bytes that are not UTF-8
            problem = FieldProblem(field="body", detail="send JSON in UTF-8")
            return _response(400, "the body is not JSON in UTF-8", [problem])
        if error.status_code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):  # the middleware's
            return _response(error.status_code, str(error.detail))
        detail = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
        return _response(error.status_code, detail, headers=error.headers)

    @app.exception_handler(OperationalError)
    async def no_database(_request: Request, error: OperationalError) -> Response:
        _log.error("the database does not answer: %s", error)
        return _response(503, "the database does not answer; try again", headers={"Retry-After": "2"})

    @app.exception_handler(Exception)
    async def crashed(request: Request, error: Exception) -> Response:
        # The log has the traceback; the client learns nothing of the inside.
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _response(500, "an error on our side; it has been logged")


def problem_response(error: ProblemError) -> Response:
    """The problem as a response."""
    return _response(error.status, error.detail, error.errors, error.headers)


def printable(value: Any) -> Any:
    """A value of a request, short and safe to send back: without what looks like a secret."""
    if value is None or isinstance(value, bool | int):
        return value
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    text = without_secrets(text.encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= _MAX_VALUE_LENGTH else text[:_MAX_VALUE_LENGTH] + "…"


def _from_validation(errors: Sequence[Mapping[str, Any]]) -> Response:
    if malformed := next((e for e in errors if e["type"] == "json_invalid"), None):
        cause = (malformed.get("ctx") or {}).get("error", malformed["msg"])
        position = malformed["loc"][-1]
        return _response(400, f"the body is not JSON: {cause} at character {position}", [_field_problem(malformed)])
    problems = [_field_problem(error) for error in errors]
    return _response(422, "; ".join(problem.detail for problem in problems[:3]), problems)


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    if error["type"] == "json_invalid":
        return FieldProblem(field="body", detail=error["msg"])
    field, value = _field_name(error["loc"]), printable(error.get("input"))
    if error["type"] == "missing":
        return FieldProblem(field=field, detail=f"{field} is missing")
    return FieldProblem(field=field, value=value, detail=f"{field} = {value!r}: {_way_out(error)}")


def _way_out(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown field; /openapi.json says which there are"
    if error["type"].startswith(("model_", "dict_")):
        return "a JSON object is needed, with Content-Type: application/json"
    return str(error["msg"]).removeprefix("Value error, ")


def _field_name(location: Sequence[int | str]) -> str:
    """media[0] for ("body", "media", 0)."""
    name = ""
    for step in location[1:]:
        if step == "[key]":  # of a dict, the key itself is wrong
            continue
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return printable(name) or str(location[0])


def _response(
    status: int, detail: str, errors: Sequence[FieldProblem] = (), headers: Mapping[str, str] | None = None
) -> Response:
    first = errors[0] if errors else None
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        field=first.field if first else None,
        value=first.value if first else None,
        errors=list(errors),
    )
    return Response(problem.model_dump_json(exclude_none=True), status, dict(headers or {}), media_type=_MEDIA_TYPE)
