"""RunPod, by its REST API v2.

What v2 does not offer is done without it: there is no time to live, no idempotency key and no choice of vCPUs, so a
pod is found again by its unique name, and ages and deadlines are ours. A pod is never stopped, always deleted: a
stopped one's disk bills on.
"""

import asyncio
import json
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoscaler.billing import runpod as runpod_bill
from autoscaler.billing.comparison import Bill
from autoscaler.clouds.http import Reply, Rest, Sleep
from autoscaler.clouds.rate_limits import CallKind
from autoscaler.clouds.registry import api_root
from autoscaler.clouds.rows import SkippedRows, excerpt, identifier, mapping, moment, number, text, whole
from autoscaler.clouds.runpod.catalogue import TIERS, country_of, cuda, offers_of, query_of, unreadable
from autoscaler.decisions.needs import gpu_count
from autoscaler.errors import (
    CloudError,
    KeyRefused,
    ListingFailed,
    NoCapacity,
    OutcomeUnknown,
    QuotaExceeded,
    RequestRefused,
)
from autoscaler.names import is_launch_of
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer, SkippedRow, Traits, Trust

_MAX_VARIABLES, _MAX_BODY_BYTES = 50, 102_400
# A page has a thousand pods by default; no account of ours has more than these.
_MAX_PAGES, _MAX_PODS = 100, 20_000
_LOG_SECONDS, _LOG_LINES = 1.5, 5
# Only the prose of a 400 tells that there is no capacity.
_NO_CAPACITY = re.compile(r"instances? (currently )?available|have the resources to deploy|no capacity", re.IGNORECASE)
_QUOTA = re.compile(r"spend(ing)? limit|quota|limit (reached|exceeded)|too many pods", re.IGNORECASE)
_UNCLEAR = re.compile(r"something went wrong", re.IGNORECASE)
# A 403 in the API's own words is about the pool that the account may not use, or about what the key may do.
_POOL = re.compile(r"\bpool\b|gpu|data ?cent(er|re)|secure cloud|community cloud|region|machine", re.IGNORECASE)
_RIGHTS = re.compile(r"\bkey\b|token|permission|scope|read.?only|\bwrite\b|access denied", re.IGNORECASE)
_STATUS = {
    "PROVISIONING": InstanceStatus.PENDING,
    "STARTING": InstanceStatus.PENDING,
    "RUNNING": InstanceStatus.RUNNING,
    "EXITED": InstanceStatus.FAILED,
    "ERROR": InstanceStatus.FAILED,
}


class Provider:
    """The pods of one cluster. `base_url` is the API's root, with or without its /v2; "" is RunPod's own.

    `known_names`: launches of this cluster by whole names, whatever id they carry, such as one from before an upgrade.
    """

    name = "runpod"

    def __init__(
        self,
        cluster_id: str,
        api_key: str,
        base_url: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        known_names: Collection[str] = (),
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._cluster_id, self._known_names = cluster_id, frozenset(known_names)
        self._rest = Rest("runpod", api_root("runpod", base_url), api_key, clock, sleep, wall_clock=wall_clock)
        self._skipped = SkippedRows()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._rest.close()

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """A GPU type of a tier, anywhere or, when regions are asked for, in each data centre there."""
        if gpu_count(node_type) == 0:
            return []
        offers: list[Offer] = []
        for tier, trust in TIERS.items():
            if trust is Trust.SECURE or node_type.trust is Trust.COMMUNITY:
                offers += await self._offers_of(tier, node_type)
        return offers

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """One POST, never repeated."""
        reply = await self._rest.purchase("POST", "/v2/pods", _body(request))
        if not reply.ok:
            raise self._refusal(reply)
        pod = reply.fields()
        if not identifier(pod.get("id")):
            raise OutcomeUnknown(f"{self._rest.describe(reply)}; no pod can be read from it")
        instance = _instance({**pod, "name": request.name})
        price = instance.price_usd_per_hour or request.offer.price_usd_per_hour
        return replace(instance, price_usd_per_hour=price)

    async def list_instances(self) -> list[Instance]:
        """All pages of the account's pods, of which those count that carry a launch's name of this cluster."""
        self._skipped.begin("pod")
        found: dict[str, Instance] = {}
        async for pod in self._pods():
            if (skipped := _unidentified(pod)) is not None:
                self._skipped.add("pod", skipped)
            elif self._is_ours(pod["name"]) and pod.get("status") != "TERMINATED":
                instance = _instance(pod)
                found.setdefault(instance.instance_id, instance)  # a page may repeat what moved on meanwhile
        return list(found.values())

    def skipped_rows(self) -> list[SkippedRow]:
        """Pods and GPU types of the latest answers that could not be read."""
        return self._skipped.all()

    async def instance_exists(self, instance_id: str) -> bool:
        """GET by id: gone is a 404 in the API's own words, or a pod that is called TERMINATED."""
        reply = await self._rest.find(f"/v2/pods/{instance_id}")
        if reply is None:
            return False
        pod = reply.fields()
        if pod.get("id") != instance_id:
            raise CloudError(f"{self._rest.describe(reply)}; it is not the pod that was asked for")
        return pod.get("status") != "TERMINATED"

    async def terminate_instance(self, instance_id: str) -> None:
        """DELETE; gone already is well, a state that forbids it (409) is to be tried again."""
        reply = await self._rest.delete(f"/v2/pods/{instance_id}")
        if (not reply.ok and reply.status != 404) or reply.is_html:
            raise self._rest.failure(reply)

    async def read_bill(self, since: float, until: float) -> Bill:
        """What each machine of the account cost from `since` to `until` (unix seconds)."""
        return await runpod_bill.read_bill(self._rest, since, until)

    async def log_excerpt(self, instance_id: str) -> str:
        """The last lines of what the host says of the pod, such as why its image cannot be pulled."""
        params = {"source": "system", "tail": str(_LOG_LINES)}
        lines = await self._rest.stream_lines(f"/v2/pods/{instance_id}/logs", params, _LOG_SECONDS)
        return "; ".join(list(_log_lines(lines))[-_LOG_LINES:])

    def _is_ours(self, name: str) -> bool:
        return name in self._known_names or is_launch_of(self._cluster_id, name)

    async def _offers_of(self, tier: str, node_type: NodeType) -> list[Offer]:
        reply = await self._rest.get("/v2/catalog/gpus", query_of(node_type, tier), CallKind.OFFERS)
        gpus = reply.fields().get("gpus")
        if not isinstance(gpus, list):
            raise CloudError(f"{self._rest.describe(reply)}; no catalogue can be read from it")
        kind = f"GPU type of {tier}"
        self._skipped.begin(kind)
        offers: list[Offer] = []
        for gpu in gpus:
            if why := unreadable(gpu, tier):
                self._skipped.add(kind, SkippedRow(kind, why, text(mapping(gpu).get("id"))))
            else:
                offers += offers_of(gpu, tier, node_type)
        return offers

    async def _pods(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every pod of the account, page by page. Raises ListingFailed when a page is missing or says nothing."""
        params: dict[str, str] = {}
        seen: set[str] = set()
        count = 0
        for _page in range(_MAX_PAGES):
            reply = await self._rest.get("/v2/pods", params)
            body = reply.fields()
            if not isinstance(body.get("pods"), list) or body.get("success", True) is not True or body.get("error"):
                raise ListingFailed(f"runpod lists no pods, not even none: {reply.text[:80]!r}")
            count += len(body["pods"])
            if count > _MAX_PODS:
                raise ListingFailed(f"runpod lists more than {_MAX_PODS} pods")
            for pod in body["pods"]:
                yield pod
            cursor = _next_cursor(body.get("pagination"))
            if not cursor:
                return
            if cursor in seen:
                raise ListingFailed("runpod gives the same page of pods again and again")
            seen.add(cursor)
            params = {"cursor": cursor}
        raise ListingFailed(f"runpod lists more than {_MAX_PAGES} pages of pods")

    def _refusal(self, reply: Reply) -> CloudError:
        """What a refused purchase means. A 403 about a pool concerns this offer only, any other one the key."""
        said = self._rest.describe(reply)
        if reply.status == 410:
            return self._rest.failure(reply)
        if reply.status == 400 and _NO_CAPACITY.search(reply.prose):
            return NoCapacity(reply.prose)
        if reply.status in (400, 403) and _QUOTA.search(reply.prose):
            return QuotaExceeded(said)
        if reply.status == 400 and _UNCLEAR.search(reply.prose):
            return OutcomeUnknown(said)
        if reply.status == 403 and (_RIGHTS.search(reply.prose) or not _POOL.search(reply.prose)):
            return KeyRefused(f"{said}; the key needs the right to create pods")
        if reply.status in (400, 403, 404, 409, 413, 422):
            return RequestRefused(said)
        return OutcomeUnknown(said)


def _next_cursor(pagination: object) -> str:
    """Where the next page begins, or "" after the last. Raises ListingFailed when that cannot be told."""
    if pagination is None:
        return ""
    more, cursor = mapping(pagination).get("hasNextPage"), mapping(pagination).get("nextCursor")
    if more is False or (more is None and cursor is None and isinstance(pagination, dict)):
        return ""
    if more not in (True, None) or not isinstance(cursor, str) or not cursor:
        raise ListingFailed(f"runpod announces a next page of pods and does not give it: {excerpt(pagination)}")
    return cursor


def _body(request: LaunchRequest) -> dict[str, Any]:
    tier, place, gpu_id = request.offer.offer_id.split("/", 2)
    gpu: dict[str, Any] = {"id": gpu_id, "count": request.offer.gpu_count}
    if request.node_type.min_cuda:
        gpu["minCudaVersion"] = cuda(request.node_type.min_cuda)
    body = {
        "name": request.name,
        "image": request.image,
        "cloud": tier,
        "gpu": gpu,
        "disk": request.node_type.disk_gib,
        "env": dict(request.environment),
        "args": shlex.join(request.start_command),
    }
    if place:
        body["dataCenterIds"] = [place]
    if len(request.environment) > _MAX_VARIABLES:
        raise RequestRefused(f"runpod takes {_MAX_VARIABLES} variables, not {len(request.environment)}")
    if (size := len(json.dumps(body))) > _MAX_BODY_BYTES:
        raise RequestRefused(f"runpod takes requests of {_MAX_BODY_BYTES} bytes, not of {size}")
    return body


def _unidentified(pod: object) -> SkippedRow | None:
    """Why it cannot be told which machine this is and whose, or None."""
    row = mapping(pod)
    name, instance_id = text(row.get("name")), identifier(row.get("id"))
    if name and instance_id:
        return None
    return SkippedRow("pod", f"it has no id or name: {excerpt(pod)}", name, instance_id)


def _instance(pod: Mapping[str, Any]) -> Instance:
    """A pod whose name and id can be read; what else cannot be read is unknown."""
    place, gpu = identifier(pod.get("dataCenterId")), mapping(pod.get("gpu"))
    status, detail = _status(pod)
    return Instance(
        cloud="runpod",
        instance_id=pod["id"],
        name=pod["name"],
        status=status,
        created_at=moment(pod.get("createdAt")),
        price_usd_per_hour=number(pod.get("cost")) or 0.0,
        detail=detail,
        traits=Traits(
            place, country_of(place), TIERS.get(str(pod.get("cloud"))), text(gpu.get("id")), whole(gpu.get("count"))
        ),
    )


def _status(pod: Mapping[str, Any]) -> tuple[InstanceStatus, str]:
    state = pod.get("status")
    status = _STATUS.get(state, InstanceStatus.UNKNOWN) if isinstance(state, str) else InstanceStatus.UNKNOWN
    if status is InstanceStatus.UNKNOWN:
        return status, f"RunPod calls it {excerpt(state)}, which AIMA does not know"
    if status is InstanceStatus.RUNNING and not pod.get("runtime"):
        return status, "RunPod calls it RUNNING and tells nothing of its container"
    return status, "" if status is InstanceStatus.RUNNING else f"RunPod calls it {state}"


def _log_lines(lines: Sequence[str]) -> Iterator[str]:
    """The messages of a stream of server-sent events."""
    for line in lines:
        if line.startswith("data:"):
            try:
                yield str(json.loads(line.removeprefix("data:"))["line"]).strip()
            except (ValueError, KeyError, TypeError):
                continue
