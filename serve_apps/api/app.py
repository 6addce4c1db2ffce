"""The HTTP API: stores what is asked for, says how it stands, hands out what was found. It runs no model."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse

from serve_apps.api import problems
from serve_apps.api.context import Service
from serve_apps.api.middleware import BodyLimits, Guard
from serve_apps.api.routes import analyses, estimates, images, media, operations, results, uploads
from serve_apps.api.routes.page import add_page
from serve_apps.api.schemas import Problem
from serve_apps.store.keys import Scope
from serve_apps.work.prober import Prober

_DESCRIPTION = """Media analysis on demand: GPUs only while there is work.

Every call but health needs `Authorization: Bearer <key>`. Errors are RFC 9457 problems that name the field, the value
and the way out. Send an `Idempotency-Key` with each submission: then a retry is harmless.
"""

_BODY_LIMITS = BodyLimits()


def create_app(
    service: Service,
    prober: Prober,
    *,
    public_docs: bool = False,
    body_limits: BodyLimits = _BODY_LIMITS,
    live: Callable[[], dict[str, Any]] = dict,
) -> FastAPI:
    """The API's application. `live` adds to the answer of /v1/health; with `public_docs`, /docs needs no key."""
    app = FastAPI(
        title="AIMA",
        description=_DESCRIPTION,
        version=version("aima-media"),
        docs_url="/docs" if public_docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if public_docs else None,
        separate_input_output_schemas=False,
    )
    problems.install(app)
    app.add_middleware(Guard, answered=service.metrics.answered, gate=service.gate, limits=body_limits)
    for router in (
        analyses.routes(service),
        results.routes(service),
        media.routes(service),
        images.routes(service),
        uploads.routes(service),
        estimates.routes(service, prober),
        operations.routes(service),
        operations.open_routes(service, live),
    ):
        app.include_router(router)
    add_page(app)
    if not public_docs:
        _add_specification(app, service)
    _complete_specification(app)
    return app


def _add_specification(app: FastAPI, service: Service) -> None:
    may_read = Depends(service.gate.requires(Scope.READ))

    @app.get("/openapi.json", include_in_schema=False, dependencies=[may_read])
    async def specification() -> Response:
        return JSONResponse(app.openapi())


def _complete_specification(app: FastAPI) -> None:
    """Put in what routes that read their body themselves only refer to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        made = generate()
        components = made["components"]["schemas"]
        for model in (Problem, images.ImageRequest):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            for name, definition in schema.pop("$defs", {}).items():
                components.setdefault(name, definition)
            components.setdefault(model.__name__, schema)
        return made

    app.openapi = openapi  # type: ignore[method-assign]
