"""Vast.ai's REST API, as far as AIMA uses it, for everybody without an account.

python -m autoscaler.fakes.vastai --port 9301 --containers
VAST_API_BASE_URL=http://127.0.0.1:9301/api VAST_API_KEY=fake-key aima up
"""

import itertools
import operator
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse

from autoscaler.fakes import bills
from autoscaler.fakes.account import Account, Machine
from autoscaler.fakes.containers import Container
from autoscaler.fakes.control import add_control_routes, perform
from autoscaler.fakes.failures import VASTAI_FAILURES
from autoscaler.fakes.faults import Call, Fault
from autoscaler.fakes.serving import serve
from autoscaler.fakes.spoiled_rows import Fields, spoiled
from autoscaler.fakes.vastai_models import Rent, found, instance_view, offers, priced

_THRESHOLD_S: dict[Call, float] = {"create": 4.5, "list": 1.0, "terminate": 3.0}
FIELDS = Fields("id", "label", "actual_status", "start_date", "dph_total")
_PAGE, _DEFAULT_DISK_GB = 25, 8.0


class Refusal(Exception):
    """An error in the API's form."""

    def __init__(self, status: int, error: str, msg: str, **more: Any) -> None:
        super().__init__(msg)
        self.status, self.body = status, {"success": False, "error": error, "msg": msg, **more}


class TooFrequent(Exception):
    """The next call of its kind comes too early."""


class Turnstile:
    """The least time between two calls of a kind."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._last: dict[Call, float] = {}

    def enter(self, call: Call) -> None:
        """Raises TooFrequent."""
        now = self._account.now()
        early = now - self._last.get(call, float("-inf")) < _THRESHOLD_S[call]
        self._last[call] = now
        if early and self._account.behaviour.rate_limits:
            raise TooFrequent(f"API requests too frequent endpoint threshold={_THRESHOLD_S[call]}")


def create_app(account: Account) -> FastAPI:
    """The API over an account."""
    app = FastAPI(title="Vast.ai (fake)", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return _refuse(Refusal(400, "invalid_args", f"error 400/3467: Invalid args: {error.errors()[0]['loc']}"))

    @app.exception_handler(Refusal)
    async def refused(_request: Request, error: Refusal) -> Response:
        return _refuse(error)

    @app.exception_handler(TooFrequent)
    async def too_frequent(_request: Request, error: TooFrequent) -> Response:
        return PlainTextResponse(str(error), 429)

    turnstile, contracts = Turnstile(account), itertools.count(30_000_001)
    _add_market_routes(app, account, turnstile, contracts)
    _add_instance_routes(app, account, turnstile)
    bills.add_vastai_route(app, account, Depends(_only_with_key(account)))
    add_control_routes(app, account, VASTAI_FAILURES)
    return app


def _add_market_routes(app: FastAPI, account: Account, turnstile: Turnstile, contracts: "itertools.count[int]") -> None:
    allowed = Depends(_only_with_key(account))

    @app.post("/api/v0/bundles/", dependencies=[allowed])
    async def search(query: Annotated[dict[str, Any], Body()]) -> Response:
        return await perform(account, "offers", lambda fault: _search(account, query, fault))

    @app.put("/api/v0/asks/{ask_id}/", dependencies=[allowed])
    async def rent(ask_id: int, body: Rent) -> Response:
        turnstile.enter("create")
        contract = next(contracts)
        return await perform(account, "create", lambda fault: _rent(account, ask_id, contract, body, fault))


def _add_instance_routes(app: FastAPI, account: Account, turnstile: Turnstile) -> None:
    allowed = Depends(_only_with_key(account))

    @app.get("/api/v0/instances/", dependencies=[allowed])
    async def list_all() -> Response:
        raise Refusal(410, "gone", "This endpoint has moved: use /api/v1/instances/")

    @app.get("/api/v1/instances/", dependencies=[allowed])
    async def list_page(request: Request) -> Response:
        turnstile.enter("list")
        return await perform(account, "list", lambda fault: _page(account, dict(request.query_params), fault))

    @app.get("/api/v0/instances/{contract}/", dependencies=[allowed])
    async def show(contract: int) -> Response:
        machine = next((m for m in account.alive() if m.machine_id == str(contract)), None)
        return await perform(account, "get", lambda _fault: _show(account, machine))

    @app.delete("/api/v0/instances/{contract}/")
    async def destroy(contract: int, request: Request) -> Response:
        machine = next((m for m in account.alive() if m.machine_id == str(contract)), None)
        given = request.headers.get("authorization")
        if machine is None or given != f"Bearer {machine.own_key}" or not account.behaviour.self_termination:
            _only_with_key(account)(request)
        turnstile.enter("terminate")
        return await perform(account, "terminate", lambda _fault: _destroy(account, machine))


def _only_with_key(account: Account) -> Any:
    def check(request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {account.key}":
            raise Refusal(404, "auth_error", "Invalid user key")

    return check


def _refuse(refusal: Refusal) -> Response:
    return JSONResponse(refusal.body, refusal.status)


def _for_rent(account: Account) -> list[dict[str, Any]]:
    rented = {machine.offer_id for machine in account.alive()}
    free = [(str(o["id"]), o) for o in offers() if str(o["id"]) not in rented and account.in_stock(str(o["id"]))]
    return [offer | {"dph_base": account.price(offer_id, offer["dph_base"])} for offer_id, offer in free]


def _search(account: Account, query: dict[str, Any], fault: Fault | None) -> Response:
    disk = float(query.get("allocated_storage", _DEFAULT_DISK_GB))
    try:
        shown = [priced(each, disk) for each in _for_rent(account)]
        met = [offer for offer in shown if found(offer, query) or not account.behaviour.filters_offers]
        for name, direction in reversed(query.get("order", [])):
            met.sort(key=operator.itemgetter(name), reverse=direction == "desc")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refusal(400, "invalid_request", f"Error in query: {error}") from None
    offers = met[: int(query.get("limit", 64))]
    return JSONResponse({"offers": spoiled(offers, fault.spoil, FIELDS) if fault and fault.spoil else offers})


def _rent(account: Account, ask_id: int, contract: int, body: Rent, fault: Fault | None) -> Response:
    offer = next((each for each in _for_rent(account) if each["id"] == ask_id), None)
    if account.balance_usd() <= 0:
        raise Refusal(400, "insufficient_credit", "Your account lacks credit; see the billing page.", ask_id=ask_id)
    if offer is None:
        said = f"error 404/3603: no_such_ask Instance type by id {ask_id} is not available."
        raise Refusal(404, "invalid_args", said, ask_id=ask_id)
    machine = Machine(
        machine_id=str(contract),
        name=body.label or "",
        offer_id=str(ask_id),
        price_usd_per_hour=priced(offer, body.disk)["dph_total"],
        created_at=account.now(),
        request=body.model_dump() | {"offer": offer, "args": body.command()},
    )
    account.create(machine, fault)
    if account.behaviour.containers:
        injected = {"CONTAINER_ID": str(contract), "CONTAINER_API_KEY": machine.own_key, "GPU_COUNT": "1"}
        environment = account.environment | body.variables() | injected | {"PUBLIC_IPADDR": "192.0.2.1"}
        machine.container = Container(str(contract), body.command(), environment, account.log_dir / f"{contract}.log")
    if machine.quirk == "refused_contract":
        machine.quirk = "stopped"
        raise Refusal(400, "invalid_price", "Your bid is below the minimum.", ask_id=ask_id, new_contract=contract)
    return JSONResponse({"success": True, "new_contract": contract})


def _page(account: Account, query: dict[str, str], fault: Fault | None) -> Response:
    unknown = query.keys() - {"limit", "after_token", "order_by", "select_cols", "select_filters"}
    if unknown:
        raise Refusal(400, "invalid_request", f"Error in query parameters: {', '.join(unknown)}")
    size, after = min(int(query.get("limit", _PAGE)), _PAGE), int(query.get("after_token", 0))
    machines = account.listed()
    rest = [machine for machine in machines if int(machine.machine_id) > after]
    page = rest[:size]
    rows = [instance_view(account, machine) for machine in page]
    return JSONResponse(
        {
            "success": True,
            "instances_found": len(page),
            "total_instances": len(machines),
            "next_token": page[-1].machine_id if len(rest) > size else None,
            "instances": spoiled(rows, fault.spoil, FIELDS) if fault and fault.spoil else rows,
        }
    )


def _show(account: Account, machine: Machine | None) -> Response:
    if machine is None:
        raise Refusal(404, "no_such_instance", "Instance not found")
    return JSONResponse({"instances": instance_view(account, machine)})


def _destroy(account: Account, machine: Machine | None) -> Response:
    if machine is None:
        raise Refusal(404, "no_such_instance", "Instance not found")
    account.end(machine)
    account.keep()
    return JSONResponse({"success": True})


if __name__ == "__main__":
    serve("vastai", create_app)
