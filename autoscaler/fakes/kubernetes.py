"""A Kubernetes API server for one RayCluster and its pods: tokens, pages, versions, conflicts, and the CRD's schema."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from jsonschema import Draft202012Validator

from autoscaler.fakes.kuberay import Kuberay


@dataclass
class ApiServer:
    """What it holds, and what it does wrong on command.

    `schema`: the CRD's; without it, changes are not checked. `conflicts`: so many changes find that
    somebody else was faster. `answers`: the next answers to "GET pods", "GET ray cluster" or
    "PATCH ray cluster", as (status, body), sent with `headers`; with `done`, the change happens all the same.
    """

    kuberay: Kuberay
    token: str
    schema: "StrictSchema | None" = None
    conflicts: int = 0
    answers: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    calls: list[str] = field(default_factory=list)


def create_app(server: ApiServer) -> FastAPI:
    """The API."""
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def gate(request: Request, call_next: Any) -> Response:
        server.calls.append(f"{request.method} {request.url.path}")
        if request.headers.get("authorization") != f"Bearer {server.token}":
            return _status(401, "Unauthorized")
        server.kuberay.advance()
        kind = "pods" if request.url.path.endswith("/pods") else "ray cluster"
        if queue := server.answers.get(f"{request.method} {kind}"):
            status, body = queue.pop(0)
            if server.done:
                await call_next(request)
            return Response(body, status, server.headers, media_type="application/json")
        response: Response = await call_next(request)
        return response

    @app.get("/api/v1/namespaces/{namespace}/pods")
    async def pods(namespace: str, request: Request) -> Response:
        if request.query_params.get("watch"):
            return _status(403, "this service account may list pods, not watch them")
        wanted = dict(part.split("=") for part in request.query_params.get("labelSelector", "").split(",") if part)
        start = int(request.query_params.get("continue", 0))
        limit = int(request.query_params.get("limit", 500))
        found = [p for p in server.kuberay.pods.values() if wanted.items() <= p["metadata"]["labels"].items()]
        page = [server.kuberay.public(pod) for pod in found[start : start + limit]]
        following = str(start + limit) if start + limit < len(found) else ""
        return JSONResponse({"kind": "PodList", "metadata": {"continue": following}, "items": page})

    _add_ray_cluster_routes(app, server)
    return app


def _add_ray_cluster_routes(app: FastAPI, server: ApiServer) -> None:
    path = "/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}"

    @app.get(path)
    async def read(namespace: str, name: str) -> Response:
        cluster = server.kuberay.ray_cluster
        if (namespace, name) != (cluster["metadata"]["namespace"], cluster["metadata"]["name"]):
            return _status(404, f'rayclusters.ray.io "{name}" not found')
        return JSONResponse(cluster)

    @app.patch(path)
    async def patch(namespace: str, name: str, request: Request) -> Response:
        if request.headers["content-type"] != "application/json-patch+json":
            return _status(415, "the body of the request was in an unknown format")
        if server.conflicts:
            server.conflicts -= 1
            server.kuberay.changed()
        current = server.kuberay.ray_cluster
        changed = apply_patch(current, await request.json())
        if changed["metadata"]["resourceVersion"] != current["metadata"]["resourceVersion"]:
            return _status(409, f'Operation cannot be fulfilled on rayclusters.ray.io "{name}": it has been modified')
        if problems := server.schema.violations(changed) if server.schema else []:
            return _status(422, f'RayCluster.ray.io "{name}" is invalid: {"; ".join(problems[:3])}')
        server.kuberay.ray_cluster = changed
        server.kuberay.changed()
        return JSONResponse(changed)


def apply_patch(document: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """RFC 6902's add and replace. Raises KeyError or IndexError for a path that is not there."""
    changed = deepcopy(dict(document))
    for operation in operations:
        *parents, last = operation["path"].lstrip("/").split("/")
        target: Any = changed
        for part in parents:
            target = target[int(part) if isinstance(target, list) else part]
        if operation["op"] == "replace" and last not in target:
            raise KeyError(operation["path"])
        target[last] = operation["value"]
    return changed


class StrictSchema:
    """What strict field validation of the API server says of a resource."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = Draft202012Validator(strict(schema))

    def violations(self, resource: Mapping[str, Any]) -> list[str]:
        """Every member that is unknown, missing or of the wrong kind, by its path."""
        return [f"{error.json_path}: {error.message[:200]}" for error in self._validator.iter_errors(resource)]


def strict(schema: Any) -> Any:
    """The schema with unknown members of every described object refused, as the API server does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {key: strict(value) for key, value in schema.items() if key != "format"}
    open_object = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), Mapping) and not open_object and "type" in schema:
        result["additionalProperties"] = False
    return result


def _status(code: int, message: str) -> JSONResponse:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return JSONResponse(json.loads(json.dumps(body)), code)
