"""Vast.ai, by its documented REST API: offers are single machines of many hosts, found by search and rented by id.

Its habits: a wrong key and a machine that is gone are both 404, told apart by the error's name; a refusal can carry
the id of a contract that bills all the same; too many calls are refused in plain text with the spacing it wants.
"""

import asyncio
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

from autoscaler.clouds.http import Reply, Rest, Sleep
from autoscaler.clouds.rate_limits import CallKind
from autoscaler.clouds.registry import api_root
from autoscaler.clouds.vastai_market import offer_of, search_of
from autoscaler.decisions.needs import gpu_count
from autoscaler.errors import (
    BalanceTooLow,
    CloudError,
    CloudStopped,
    KeyRefused,
    ListingFailed,
    NoCapacity,
    OutcomeUnknown,
    QuotaExceeded,
    RequestRefused,
)
from autoscaler.names import is_launch_of
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer

# Published with the refusals: seconds between two calls of a kind.
_SPACING_S = {CallKind.BUY: 4.5, CallKind.LIST: 1.0, CallKind.END: 3.0}
_PAGE, _MAX_PAGES = 25, 200
_STATUS = {
    None: InstanceStatus.PENDING,
    "created": InstanceStatus.PENDING,
    "loading": InstanceStatus.PENDING,
    "rebooting": InstanceStatus.PENDING,
    "running": InstanceStatus.RUNNING,
}
_NO_SUCH_INSTANCE = re.compile(r"no_such_instance|not_found|invalid_id|instance not found", re.IGNORECASE)
_NO_SUCH_ASK = re.compile(r"no_such_ask|no longer available|not available|already rented", re.IGNORECASE)
_AUTH = re.compile(r"auth_error|invalid user key|invalid api key", re.IGNORECASE)
_BALANCE = re.compile(r"credit|balance", re.IGNORECASE)
_QUOTA = re.compile(r"spend(ing)? limit|quota|limit (reached|exceeded)|too many instances", re.IGNORECASE)
# What its daemon says of a container that will never run.
_HOPELESS = re.compile(r"OCI runtime|error response from daemon|toomanyrequests|pull access denied", re.IGNORECASE)


class Provider:
    """The instances of one cluster; an instance's label is its launch's name. `wall_clock` gives unix seconds.

    `base_url` is the root of the API, with or without /api; "" is Vast.ai's own.
    `known_names`: launches of this cluster by whole names, whatever id they carry, such as one from before an upgrade.
    """

    name = "vastai"

    def __init__(
        self,
        cluster_id: str,
        api_key: str,
        wall_clock: Callable[[], float],
        base_url: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        known_names: Collection[str] = (),
    ) -> None:
        self._cluster_id, self._known_names, self._wall_clock = cluster_id, frozenset(known_names), wall_clock
        self._rest = Rest(
            "vastai",
            api_root("vastai", base_url),
            api_key,
            clock,
            sleep,
            _SPACING_S,
            explain=_explain,
            wall_clock=wall_clock,
        )
        self._condemned: dict[str, str] = {}  # contracts of refused purchases that could not be destroyed, and why
        self._said: dict[str, str] = {}
        self._first_seen: dict[str, float] = {}

    async def close(self) -> None:
        """Let go of the connections."""
        await self._rest.close()

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """The cheapest machines for rent that meet the need."""
        if gpu_count(node_type) == 0:
            return []
        reply = await self._rest.search("/v0/bundles/", search_of(node_type))
        offers = reply.fields().get("offers")
        if not isinstance(offers, list):
            raise CloudError(f"{self._rest.describe(reply)}; no offers can be read from it")
        return [offer for found in offers if (offer := offer_of(found, node_type)) is not None]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """One PUT, never repeated. A contract that comes with a refusal is destroyed."""
        path = f"/v0/asks/{request.offer.offer_id}/"
        reply = await self._rest.purchase("PUT", path, _body(request))
        fields = reply.fields()
        contract = fields.get("new_contract")
        if reply.ok and fields.get("success") is not False and contract:
            return Instance(
                cloud="vastai",
                instance_id=str(contract),
                name=request.name,
                status=InstanceStatus.PENDING,
                created_at=self._wall_clock(),
                price_usd_per_hour=request.offer.full_usd_per_hour,
                machine_id=request.offer.machine_id,
            )
        if contract:
            await self._undo(str(contract), self._rest.describe(reply))
        if reply.ok and fields.get("success") is not False:
            raise OutcomeUnknown(f"{self._rest.describe(reply)}; no contract can be read from it")
        raise _refusal(self._rest, reply)

    async def list_instances(self) -> list[Instance]:
        """All pages of the account's instances, of which those count that carry a launch's name of this cluster.

        The API could filter by label, but only for equality that is sure: how its database orders text is not told.
        """
        found = [contract async for contract in self._contracts()]
        try:
            own = [c for c in found if self._is_ours(c["label"] or "")]
            instances = [self._instance(contract) for contract in own]
        except (KeyError, TypeError, ValueError) as error:
            raise ListingFailed(f"vastai lists what cannot be read: {type(error).__name__} {error}") from None
        alive = {instance.instance_id for instance in instances}
        for memory in (self._said, self._first_seen):
            for gone in memory.keys() - alive:
                del memory[gone]
        return instances

    async def terminate_instance(self, instance_id: str) -> None:
        """Destroy; gone already is well."""
        if not instance_id.isdecimal():
            return  # no contract of Vast's
        reply = await self._rest.delete(f"/v0/instances/{instance_id}/")
        if reply.ok and reply.fields().get("success") is not False:
            return
        if _AUTH.search(reply.prose) or reply.is_html or not _NO_SUCH_INSTANCE.search(reply.prose):
            raise self._rest.failure(reply)

    async def log_excerpt(self, instance_id: str) -> str:
        """What its host's daemon said last."""
        return self._said.get(instance_id, "")

    def _is_ours(self, label: str) -> bool:
        return label in self._known_names or is_launch_of(self._cluster_id, label)

    async def _contracts(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every contract of the account. Raises ListingFailed when a page is missing or says nothing."""
        params = {"limit": str(_PAGE), "order_by": '[{"col":"id","dir":"asc"}]'}
        count, total, seen = 0, 0, set()
        for _page in range(_MAX_PAGES):
            body = (await self._rest.get("/v1/instances/", params)).fields()
            if not isinstance(body.get("instances"), list) or body.get("success") is False:
                raise ListingFailed(f"vastai lists no instances, not even none: {str(dict(body))[:80]}")
            for contract in body["instances"]:
                yield contract
            count, total = count + len(body["instances"]), body.get("total_instances") or 0
            token = body.get("next_token")
            if not token:
                break
            if token in seen:
                raise ListingFailed("vastai gives the same page of instances again and again")
            seen.add(token)
            params |= {"after_token": token}
        else:
            raise ListingFailed(f"vastai lists more than {_MAX_PAGES} pages of instances")
        if count < total:
            raise ListingFailed(f"vastai lists {count} of {total} instances")

    def _instance(self, contract: Mapping[str, Any]) -> Instance:
        """Raises KeyError, TypeError or ValueError when the contract is not one."""
        instance_id = str(int(contract["id"]))
        state, said = contract["actual_status"], contract.get("status_msg") or ""
        self._said[instance_id] = said.strip()
        status = _STATUS.get(state, InstanceStatus.FAILED)
        hopeless = status is InstanceStatus.PENDING and _HOPELESS.search(said) is not None
        condemned = self._condemned.get(instance_id)
        if hopeless or condemned or contract.get("intended_status") == "stopped":
            status = InstanceStatus.FAILED
        told = f"Vast calls it {state}{f': {said.strip()[:200]}' if said.strip() else ''}"
        first_seen = self._first_seen.setdefault(instance_id, self._wall_clock())
        machine_id = contract.get("machine_id")
        return Instance(
            cloud="vastai",
            instance_id=instance_id,
            name=contract["label"],
            status=status,
            created_at=float(contract.get("start_date") or first_seen),
            price_usd_per_hour=float(contract.get("dph_total") or 0.0),
            detail=condemned or ("" if status is InstanceStatus.RUNNING else told),
            machine_id=None if machine_id is None else str(machine_id),
        )

    async def _undo(self, contract: str, said: str) -> None:
        """Destroy what a refused purchase has created. Raises OutcomeUnknown when that fails: the list will show it."""
        try:
            await self.terminate_instance(contract)
        except CloudError as error:
            self._condemned[contract] = f"the purchase was refused ({said})"
            raise OutcomeUnknown(f"{said}; its contract {contract} could not be destroyed: {error}") from None


def _explain(reply: Reply) -> CloudError | None:
    """A key that is not accepted is 404 here, and a missing balance a 400."""
    said = f"vastai answered {reply.call} with {reply.status}: {reply.prose}"
    if 400 <= reply.status < 500 and not reply.is_html:
        if _AUTH.search(reply.prose):
            return KeyRefused(said)
        if _QUOTA.search(reply.prose):
            return QuotaExceeded(said)
        if _BALANCE.search(reply.prose):
            return BalanceTooLow(said)
    return None


def _refusal(rest: Rest, reply: Reply) -> CloudError:
    """What a refused purchase means; 410 is an offer that is gone, unless it says nothing of one."""
    gone = _NO_SUCH_ASK.search(reply.prose) is not None
    if _explain(reply) is None and gone:
        return NoCapacity(reply.prose)
    failure = rest.failure(reply)
    return failure if isinstance(failure, CloudStopped) and reply.status != 403 else RequestRefused(str(failure))


def _body(request: LaunchRequest) -> dict[str, Any]:
    variables = " ".join(f"-e {shlex.quote(f'{name}={value}')}" for name, value in request.environment.items())
    return {
        "image": request.image,
        "label": request.name,
        "disk": float(request.node_type.disk_gib),
        "runtype": "args",
        "args": list(request.start_command),
        "env": variables,
        "target_state": "running",
        "cancel_unavail": True,
    }
