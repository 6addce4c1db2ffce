"""Vast.ai, by its documented REST API: offers are single machines of many hosts, found by search and rented by id.

Its habits: a wrong key and a machine that is gone are both 404, told apart by the error's name; a refusal can carry
the id of a contract that bills all the same; too many calls are refused in plain text with the spacing it wants.
"""

import asyncio
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from autoscaler.billing import vastai as vastai_bill
from autoscaler.billing.comparison import Bill
from autoscaler.clouds.http import Reply, Rest, Sleep
from autoscaler.clouds.rate_limits import CallKind
from autoscaler.clouds.registry import api_root
from autoscaler.clouds.rows import SkippedRows, excerpt, identifier, mapping, text, whole
from autoscaler.clouds.vastai.contracts import daemon_says, instance_of, page_of, unidentified
from autoscaler.clouds.vastai.market import offer_of, search_of
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
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer, SkippedRow

# Published with the refusals: seconds between two calls of a kind.
_SPACING_S = {CallKind.BUY: 4.5, CallKind.LIST: 1.0, CallKind.END: 3.0}
_PAGE, _MAX_PAGES = 25, 200
_NO_SUCH_INSTANCE = re.compile(r"no_such_instance|not_found|invalid_id|instance not found", re.IGNORECASE)
_NO_SUCH_ASK = re.compile(r"no_such_ask|no longer available|not available|already rented", re.IGNORECASE)
_AUTH = re.compile(r"auth_error|invalid user key|invalid api key", re.IGNORECASE)
_BALANCE = re.compile(r"credit|balance", re.IGNORECASE)
_QUOTA = re.compile(r"spend(ing)? limit|quota|limit (reached|exceeded)|too many instances", re.IGNORECASE)
# A 403 is about the offer, such as another host's own machine, or else about the account and what its key may do.
_OFFER = re.compile(r"\boffer|\bask\b|machine|\bbid\b", re.IGNORECASE)
_RIGHTS = re.compile(r"\bkey\b|permission|scope|read.?only|blacklist|authori[sz]ed", re.IGNORECASE)


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
        self._skipped = SkippedRows()

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
        self._skipped.begin("offer")
        now = self._wall_clock()
        read = (offer_of(found, node_type, self._skipped, now) for found in offers)
        return [offer for offer in read if offer is not None]

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """One PUT, never repeated. A contract that comes with a refusal is destroyed."""
        path = f"/v0/asks/{request.offer.offer_id}/"
        reply = await self._rest.purchase("PUT", path, _body(request))
        fields = reply.fields()
        contract = identifier(fields.get("new_contract"))
        if reply.ok and fields.get("success") is not False and contract:
            return Instance(
                cloud="vastai",
                instance_id=contract,
                name=request.name,
                status=InstanceStatus.PENDING,
                created_at=None,  # the answer does not tell; the bill counts from the request
                price_usd_per_hour=request.offer.full_usd_per_hour,
                machine_id=request.offer.machine_id,
            )
        if contract:
            await self._undo(contract, self._rest.describe(reply))
        unreadable = bool(fields.get("new_contract")) and not contract
        if unreadable or (reply.ok and fields.get("success") is not False):
            raise OutcomeUnknown(f"{self._rest.describe(reply)}; no contract can be read from it")
        raise _refusal(self._rest, reply)

    async def list_instances(self) -> list[Instance]:
        """All pages of the account's instances, of which those count that carry a launch's name of this cluster.

        The API could filter by label, but only for equality that is sure: how its database orders text is not told.
        """
        self._skipped.begin("contract")
        found: dict[str, Instance] = {}
        async for contract in self._contracts():
            if (skipped := unidentified(contract)) is not None:
                self._skipped.add("contract", skipped)
            elif self._is_ours(text(contract.get("label"))):
                instance = instance_of(contract)
                self._said[instance.instance_id] = daemon_says(contract)
                found.setdefault(
                    instance.instance_id, self._judged(instance)
                )  # a page may repeat what moved on meanwhile
        for gone in self._said.keys() - found.keys():
            del self._said[gone]
        return list(found.values())

    def skipped_rows(self) -> list[SkippedRow]:
        """Contracts and offers of the latest answers that could not be read."""
        return self._skipped.all()

    async def instance_exists(self, instance_id: str) -> bool:
        """GET by id: gone is null in the contract's place, or a 404 that means the contract and not the key."""
        if not instance_id.isdecimal():
            return False
        reply = await self._rest.find(f"/v0/instances/{instance_id}/", gone=_is_gone)
        if reply is None:
            return False
        fields = reply.fields()
        if "instances" in fields and fields["instances"] is None and fields.get("success", True) is True:
            return False
        if identifier(mapping(fields.get("instances")).get("id")) != instance_id:
            raise CloudError(f"{self._rest.describe(reply)}; it is not the contract that was asked for")
        return True

    async def terminate_instance(self, instance_id: str) -> None:
        """Destroy; gone already is well."""
        if not instance_id.isdecimal():
            return  # no contract of Vast's
        reply = await self._rest.delete(f"/v0/instances/{instance_id}/")
        if reply.ok and reply.fields().get("success") is True:
            return
        if not _is_gone(reply):
            raise self._rest.failure(reply)

    async def read_bill(self, since: float, until: float) -> Bill:
        """What each machine of the account cost from `since` to `until` (unix seconds)."""
        return await vastai_bill.read_bill(self._rest, since, until)

    async def log_excerpt(self, instance_id: str) -> str:
        """What its host's daemon said last."""
        return self._said.get(instance_id, "")

    def _is_ours(self, label: str) -> bool:
        return label in self._known_names or is_launch_of(self._cluster_id, label)

    async def _contracts(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every contract of the account. Raises ListingFailed when a page is missing or says nothing."""
        params = {"limit": str(_PAGE), "order_by": '[{"col":"id","dir":"asc"}]'}
        count, seen = 0, set()
        total: int | None = 0
        for _page in range(_MAX_PAGES):
            body = (await self._rest.get("/v1/instances/", params)).fields()
            page = page_of(body)
            for contract in page:
                yield contract
            count, total = count + len(page), whole(body.get("total_instances") or 0)
            token = body.get("next_token")
            if token is None or token == "":
                break
            if not isinstance(token, str | int) or token in seen:
                raise ListingFailed("vastai gives the same page of instances again and again, or none")
            seen.add(token)
            params |= {"after_token": str(token)}
        else:
            raise ListingFailed(f"vastai lists more than {_MAX_PAGES} pages of instances")
        if total is None or count < total:
            raise ListingFailed(f"vastai lists {count} of {excerpt(body.get('total_instances'))} instances")

    def _judged(self, instance: Instance) -> Instance:
        """The instance, failed when it came with a refused purchase and could not be destroyed then."""
        why = self._condemned.get(instance.instance_id)
        return replace(instance, status=InstanceStatus.FAILED, detail=why) if why else instance

    async def _undo(self, contract: str, said: str) -> None:
        """Destroy what a refused purchase has created. Raises OutcomeUnknown when that fails: the list will show it."""
        try:
            await self.terminate_instance(contract)
        except CloudError as error:
            self._condemned[contract] = f"the purchase was refused ({said})"
            raise OutcomeUnknown(f"{said}; its contract {contract} could not be destroyed: {error}") from None


def _is_gone(reply: Reply) -> bool:
    """Whether an answer means that there is no such contract: a wrong key is a 404, too."""
    return not reply.is_html and not _AUTH.search(reply.prose) and _NO_SUCH_INSTANCE.search(reply.prose) is not None


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
    about_the_offer = reply.status == 403 and _OFFER.search(reply.prose) and not _RIGHTS.search(reply.prose)
    return failure if isinstance(failure, CloudStopped) and not about_the_offer else RequestRefused(str(failure))


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
