"""RunPod's REST API v2, as far as AIMA uses it, for everybody without an account.

python -m autoscaler.fakes.runpod --port 9300 --containers
RUNPOD_API_BASE_URL=http://127.0.0.1:9300 RUNPOD_API_KEY=fake-key aima up
"""

import asyncio
import json
import secrets
import shlex
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse

from autoscaler.fakes import bills
from autoscaler.fakes.account import Account, Machine
from autoscaler.fakes.containers import Container
from autoscaler.fakes.control import add_control_routes, perform
from autoscaler.fakes.failures import RUNPOD_FAILURES
from autoscaler.fakes.faults import Fault, Strict
from autoscaler.fakes.runpod_models import (
    CENTRES,
    CUDA_VERSIONS,
    PRICES,
    CreatePod,
    PodAction,
    RateWindows,
    Tier,
    Version,
    delivered,
    pod_view,
    status_of,
)
from autoscaler.fakes.serving import serve
from autoscaler.fakes.spoiled_rows import Fields, spoiled

# A log is followed until the reader goes away, or for so long.
_LOG_STREAM_S = 30.0
_MAX_BODY_BYTES, _MAX_VARIABLES, _MAX_COUNT = 102_400, 50, 8
FIELDS = Fields("id", "name", "status", "createdAt", "cost")
NO_CAPACITY = "There are no longer any instances available with the requested specifications."


class CatalogueQuery(Strict):
    """Its parts are text, as all of a URL is."""

    include: str = ""
    product: str = ""
    count: str = "1"
    cloud: Tier = "SECURE"
    countryCodes: str = ""
    minCudaVersion: Version | None = None


class ListQuery(Strict):
    includeClusterPods: str = "false"
    cursor: str = ""


class Problem(Exception):
    """An answer by RFC 9457."""

    def __init__(self, status: int, title: str, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.body: dict[str, Any] = {"title": title, "status": status, "detail": detail}
        self.body |= {"errors": errors} if errors else {}

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, media_type="application/problem+json")


def create_app(account: Account) -> FastAPI:
    """The API over an account."""
    app = FastAPI(title="RunPod (fake)", docs_url=None, redoc_url=None, openapi_url=None)
    windows = RateWindows()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        errors = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        return Problem(422, "Unprocessable Entity", "Request validation failed.", errors).response()

    @app.exception_handler(Problem)
    async def problem(_request: Request, error: Problem) -> Response:
        return error.response()

    @app.middleware("http")
    async def edge(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path.startswith("/_fake"):
            return await call_next(request)
        if not request.headers.get("user-agent"):
            return Response("<html><h1>403 Forbidden</h1></html>", 403, media_type="text/html")
        if int(request.headers.get("content-length", 0)) > _MAX_BODY_BYTES:
            return Problem(413, "Payload Too Large", f"at most {_MAX_BODY_BYTES} bytes").response()
        limits, refused = windows.limits(account)
        if refused:
            response = Problem(429, "Too Many Requests", "rate limit exceeded").response()
        else:
            response = await call_next(request)
        response.headers.update(limits)
        return response

    _add_pod_routes(app, account)
    _add_single_pod_routes(app, account)
    _add_catalogue_route(app, account)
    bills.add_runpod_route(app, account, lambda authorization: _allow(account, authorization))
    add_control_routes(app, account, RUNPOD_FAILURES)
    return app


def _add_pod_routes(app: FastAPI, account: Account) -> None:
    @app.post("/v2/pods")
    async def create(body: CreatePod, authorization: Annotated[str, Header()] = "") -> Response:
        _allow(account, authorization)
        return await perform(account, "create", lambda fault: _create(account, body, fault))

    @app.get("/v2/pods")
    async def list_pods(query: Annotated[ListQuery, Query()], authorization: Annotated[str, Header()] = "") -> Response:
        _allow(account, authorization)
        return await perform(account, "list", lambda fault: _page(account, query.cursor, fault))


def _add_single_pod_routes(app: FastAPI, account: Account) -> None:
    @app.get("/v2/pods/{pod_id}")
    async def get_pod(pod_id: str, authorization: Annotated[str, Header()] = "") -> Response:
        return await perform(
            account, "get", lambda _fault: JSONResponse(pod_view(account, _pod(account, pod_id, authorization)))
        )

    @app.delete("/v2/pods/{pod_id}")
    async def terminate(pod_id: str, authorization: Annotated[str, Header()] = "") -> Response:
        machine = _pod(account, pod_id, authorization)
        _check_self_termination(account, machine, authorization)
        return await perform(account, "terminate", lambda _fault: _terminate(account, machine))

    @app.post("/v2/pods/{pod_id}/action")
    async def act(pod_id: str, body: PodAction, authorization: Annotated[str, Header()] = "") -> Response:
        machine = _pod(account, pod_id, authorization)
        _check_self_termination(account, machine, authorization)
        if body.action != "terminate":
            raise Problem(409, "Conflict", f"action {body.action} is not valid for this pod")
        return await perform(account, "terminate", lambda _fault: _terminate(account, machine))

    @app.get("/v2/pods/{pod_id}/logs")
    async def logs(pod_id: str, authorization: Annotated[str, Header()] = "") -> Response:
        machine = _pod(account, pod_id, authorization)
        return await perform(account, "logs", lambda _fault: _logs(account, machine))


def _add_catalogue_route(app: FastAPI, account: Account) -> None:
    @app.get("/v2/catalog/gpus")
    async def gpus(query: Annotated[CatalogueQuery, Query()], authorization: Annotated[str, Header()] = "") -> Response:
        _allow(account, authorization)
        if query.include and not query.product:
            raise Problem(400, "Bad Request", "include=AVAILABILITY requires product")
        shown = [_gpu_view(account, gpu_id, query) for gpu_id in PRICES]
        return await perform(account, "offers", lambda fault: _catalogue(shown, fault))


def _allow(account: Account, authorization: str) -> None:
    if authorization != f"Bearer {account.key}":
        raise Problem(401, "Unauthorized", "invalid bearer token")


def _pod(account: Account, pod_id: str, authorization: str) -> Machine:
    """The pod, for the account's key and for its own."""
    machine = next((m for m in account.alive() if m.machine_id == pod_id), None)
    if machine is None or authorization != f"Bearer {machine.own_key}":
        _allow(account, authorization)
    if machine is None:
        raise Problem(404, "Not Found", "pod not found")
    return machine


def _check_self_termination(account: Account, machine: Machine, authorization: str) -> None:
    if authorization == f"Bearer {machine.own_key}" and not account.behaviour.self_termination:
        raise Problem(403, "Forbidden", "access denied")


def _create(account: Account, body: CreatePod, fault: Fault | None) -> Response:
    stock = f"{body.cloud}/{body.gpu.id}"
    if body.gpu.id not in PRICES:
        raise Problem(404, "Not Found", f"GPU type {body.gpu.id} not found")
    if len(body.env) > _MAX_VARIABLES:
        raise Problem(400, "Bad Request", f"at most {_MAX_VARIABLES} environment variables")
    if account.balance_usd() <= 0:
        raise Problem(402, "Payment Required", "Insufficient balance. Please add funds to your account.")
    if (
        body.gpu.count is None
        or body.gpu.count > _MAX_COUNT
        or not account.in_stock(stock)
        or _price(account, body.cloud, body.gpu.id) <= 0
    ):
        raise Problem(400, "Bad Request", NO_CAPACITY)
    wanted = [centre for centre in body.dataCenterIds or CENTRES if centre in CENTRES]
    if not wanted:
        raise Problem(400, "Bad Request", NO_CAPACITY)
    quirk = fault.quirk if fault else None
    placed = next(centre for centre in CENTRES if centre not in wanted) if quirk == "misplaced" else wanted[0]
    machine = Machine(
        machine_id=secrets.token_hex(7),
        name=body.name,
        offer_id=stock,
        price_usd_per_hour=_price(account, body.cloud, body.gpu.id) * body.gpu.count,
        created_at=account.now(),
        request=body.model_dump() | delivered(body, quirk) | {"placed": placed},
    )
    account.create(machine, fault)
    if account.behaviour.containers:
        machine.container = _container(account, machine, body)
    return JSONResponse(pod_view(account, machine), 201)


def _container(account: Account, machine: Machine, body: CreatePod) -> Container:
    """With what the cloud itself puts into a pod's environment."""
    injected = {
        "RUNPOD_POD_ID": machine.machine_id,
        "RUNPOD_API_KEY": machine.own_key,
        "RUNPOD_DC_ID": machine.request["placed"],
        "RUNPOD_PUBLIC_IP": "192.0.2.1",
    }
    log = account.log_dir / f"{machine.machine_id}.log"
    return Container(machine.machine_id, shlex.split(body.args), account.environment | body.env | injected, log)


def _price(account: Account, tier: str, gpu_id: str) -> float:
    """0 where it is not sold."""
    _name, _memory, secure, community = PRICES[gpu_id]
    published = secure if tier == "SECURE" else community
    return account.price(f"{tier}/{gpu_id}", published) if published else 0.0


def _page(account: Account, cursor: str, fault: Fault | None) -> Response:
    pods, size = account.listed(), account.behaviour.page_size
    first = int(cursor) if cursor.isdecimal() else 0
    rows = [pod_view(account, pod) for pod in pods[first : first + size]]
    body: dict[str, Any] = {"pods": spoiled(rows, fault.spoil, FIELDS) if fault and fault.spoil else rows}
    if account.behaviour.paginates:
        more = first + size < len(pods)
        body["pagination"] = {"nextCursor": str(first + size) if more else None, "hasNextPage": more}
    return JSONResponse(body)


def _terminate(account: Account, machine: Machine) -> Response:
    if account.behaviour.conflict_while_provisioning and status_of(account, machine) == "PROVISIONING":
        raise Problem(409, "Conflict", "action terminate is not valid while the pod is PROVISIONING")
    account.end(machine)
    account.keep()
    return Response(status_code=204)


def _logs(account: Account, machine: Machine) -> Response:
    lines = ["create container"]
    if machine.quirk == "image_missing":
        lines.append(f"error pulling image: toomanyrequests: pull rate limit reached for {machine.request['image']}")

    async def stream() -> Any:
        for line in lines:
            yield f"id: {account.now()}\ndata: {json.dumps({'source': 'system', 'line': line, 'ts': ''})}\n\n"
        await asyncio.sleep(_LOG_STREAM_S)

    return StreamingResponse(stream(), media_type="text/event-stream")


def _catalogue(gpus: list[dict[str, Any]], fault: Fault | None) -> Response:
    return JSONResponse({"gpus": spoiled(gpus, fault.spoil, FIELDS) if fault and fault.spoil else gpus})


def _gpu_view(account: Account, gpu_id: str, query: CatalogueQuery) -> dict[str, Any]:
    name, memory, *_published = PRICES[gpu_id]
    secure, community = (_price(account, tier, gpu_id) for tier in ("SECURE", "COMMUNITY"))
    view: dict[str, Any] = {
        "id": gpu_id,
        "name": name,
        "pool": None,
        "manufacturer": gpu_id.split()[0],
        "memory": memory,
        "secure": secure > 0,
        "community": community > 0,
        "price": {"secure": secure, "community": community},
        "maxCount": {"secure": _MAX_COUNT, "community": _MAX_COUNT if community else 0},
    }
    if query.include:
        sold = account.in_stock(f"{query.cloud}/{gpu_id}") and _price(account, query.cloud, gpu_id) > 0
        level = "HIGH" if sold else "NONE"
        centres = [{"id": centre, "name": title, "availability": level} for centre, title in CENTRES.items()]
        versions = [{"version": version, "available": sold} for version in CUDA_VERSIONS]
        has_cuda = view["manufacturer"] == "NVIDIA"
        view |= {"availability": level} | ({"cudaVersions": versions} if has_cuda else {})
        view |= {"dataCenters": centres} if sold else {}
    return view


if __name__ == "__main__":
    serve("runpod", create_app)
