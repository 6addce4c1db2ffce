"""What every fake cloud has beside its API: failing on command, time, the bill. Under /_fake, without a key."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from starlette.types import Receive, Scope, Send

from autoscaler.fakes.account import Account
from autoscaler.fakes.failures import Failure
from autoscaler.fakes.faults import Call, Fault, Strict


class Cut(Response):
    """Promises more than it sends, so that the server breaks the connection within the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4096"), (b"x-fake-fault", b"cut")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id": "'})


class Advance(Strict):
    """Lets time pass."""

    seconds: float


async def perform(account: Account, call: Call, do: Callable[[Fault | None], Response]) -> Response:
    """Answer a call as the API would, or as the next fault of its kind has it."""
    account.calls.append(call)
    fault = account.faults.take(call)
    if fault is None:
        if call == "list":
            account.good_lists.append(account.now())
        return do(None)
    spoiled = fault.cut or fault.answer is not None
    response = do(fault) if fault.done or not spoiled else None
    if fault.hang_s > 0:
        await asyncio.sleep(fault.hang_s)
    if fault.cut:
        return Cut()
    if fault.answer is not None:
        answer = fault.answer
        headers = {"X-Fake-Fault": "on command", **answer.headers}
        return Response(answer.body, answer.status, headers, media_type=answer.content_type)
    assert response is not None
    return response


def add_control_routes(app: FastAPI, account: Account, failures: Mapping[str, Failure]) -> None:
    """`failures`: what can go wrong, by the names of failures.py."""

    @app.post("/_fake/faults", status_code=204)
    async def add_fault(fault: Fault) -> None:
        account.faults.add(fault)

    @app.delete("/_fake/faults", status_code=204)
    async def clear_faults() -> None:
        account.faults.clear()

    @app.get("/_fake/failures")
    async def list_failures() -> dict[str, str]:
        return {name: failure.says for name, failure in failures.items()}

    @app.post("/_fake/failures/{name}", status_code=204)
    async def fail(name: str) -> None:
        if name not in failures:
            raise HTTPException(404, f"no failure is called {name!r}; there are: {', '.join(failures)}")
        inflict(account, failures[name])

    @app.post("/_fake/clock", status_code=204)
    async def advance(body: Advance) -> None:
        account.advance(body.seconds)

    _add_account_routes(app, account)


def inflict(account: Account, failure: Failure) -> None:
    """Make it happen, now or with the calls that follow."""
    for fault in failure.faults:
        account.faults.add(fault)
    account.behave(failure.behaviour)
    for machine in account.alive():
        if failure.vanish:
            machine.ended_at = account.now()
        if failure.restart and machine.container is not None:
            machine.container.kill()
    account.keep()


def _add_account_routes(app: FastAPI, account: Account) -> None:
    @app.get("/_fake/behaviour")
    async def behaviour() -> dict[str, Any]:
        return account.behaviour.model_dump()

    @app.patch("/_fake/behaviour", status_code=204)
    async def behave(changes: dict[str, Any]) -> None:
        account.behave(changes)

    @app.get("/_fake/bill")
    async def bill() -> dict[str, Any]:
        return account.bill()

    @app.get("/_fake/calls")
    async def calls() -> dict[str, Any]:
        return {"calls": account.calls}

    @app.delete("/_fake/machines/{machine_id}", status_code=204)
    async def vanish(machine_id: str) -> None:
        if machine_id not in account.machines:
            raise HTTPException(404, f"no machine is called {machine_id!r}")
        account.machines[machine_id].ended_at = account.now()
        account.keep()
