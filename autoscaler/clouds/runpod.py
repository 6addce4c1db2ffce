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
from datetime import datetime
from typing import Any

from autoscaler.clouds.http import Reply, Rest, Sleep
from autoscaler.clouds.rate_limits import CallKind
from autoscaler.clouds.registry import api_root
from autoscaler.decisions.needs import Machine, gpu_count, unmet, version_key
from autoscaler.errors import CloudError, ListingFailed, NoCapacity, OutcomeUnknown, QuotaExceeded, RequestRefused
from autoscaler.names import is_launch_of
from autoscaler.types import Instance, InstanceStatus, LaunchRequest, NodeType, Offer, Trust

_TIERS = {"SECURE": Trust.SECURE, "COMMUNITY": Trust.COMMUNITY}
_AVAILABILITY = {"LOW": 0.5, "MEDIUM": 0.8, "HIGH": 0.95}
# Published: a container's disk costs 0.10 USD per GB and month.
_DISK_USD_PER_GIB_HOUR = 0.10 / 730
# Reported: 15 to 33 s with the image on the host, minutes without it.
_USUAL_BOOT_S = 90.0
_MAX_VARIABLES, _MAX_BODY_BYTES, _MAX_PAGES = 50, 102_400, 100
_LOG_SECONDS, _LOG_LINES = 1.5, 5
# Only the prose of a 400 tells that there is no capacity.
_NO_CAPACITY = re.compile(r"instances? (currently )?available|have the resources to deploy|no capacity", re.IGNORECASE)
_QUOTA = re.compile(r"spend(ing)? limit|quota|limit (reached|exceeded)|too many pods", re.IGNORECASE)
_UNCLEAR = re.compile(r"something went wrong", re.IGNORECASE)
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
        self._places: dict[str, str] = {}  # launch -> the one data centre it was bought for

    async def close(self) -> None:
        """Let go of the connections."""
        await self._rest.close()

    async def list_offers(self, node_type: NodeType) -> list[Offer]:
        """A GPU type of a tier, anywhere or, when regions are asked for, in each data centre there."""
        if gpu_count(node_type) == 0:
            return []
        offers: list[Offer] = []
        for tier, trust in _TIERS.items():
            if trust is Trust.SECURE or node_type.trust is Trust.COMMUNITY:
                offers += await self._offers_of(tier, node_type)
        return offers

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """One POST, never repeated."""
        body = _body(request)
        if place := _place(request):
            self._places[request.name] = place
        reply = await self._rest.purchase("POST", "/v2/pods", body)
        if not reply.ok:
            raise self._refusal(reply)
        pod = reply.fields()
        try:
            instance = self._instance(pod)
        except (KeyError, TypeError, ValueError):
            raise OutcomeUnknown(f"{self._rest.describe(reply)}; no pod can be read from it") from None
        price = instance.price_usd_per_hour or request.offer.price_usd_per_hour
        return replace(instance, price_usd_per_hour=price)

    async def list_instances(self) -> list[Instance]:
        """All pages of the account's pods, of which those count that carry a launch's name of this cluster."""
        pods = [pod async for pod in self._pods()]
        try:
            own = [pod for pod in pods if self._is_ours(pod["name"])]
            return [self._instance(pod) for pod in own if pod["status"] != "TERMINATED"]
        except (KeyError, TypeError, ValueError) as error:
            raise ListingFailed(f"runpod lists a pod that cannot be read: {type(error).__name__} {error}") from None

    async def terminate_instance(self, instance_id: str) -> None:
        """DELETE; gone already is well, a state that forbids it (409) is to be tried again."""
        reply = await self._rest.delete(f"/v2/pods/{instance_id}")
        if not reply.ok and (reply.status != 404 or reply.is_html):
            raise self._rest.failure(reply)

    async def log_excerpt(self, instance_id: str) -> str:
        """The last lines of what the host says of the pod, such as why its image cannot be pulled."""
        params = {"source": "system", "tail": str(_LOG_LINES)}
        lines = await self._rest.stream_lines(f"/v2/pods/{instance_id}/logs", params, _LOG_SECONDS)
        return "; ".join(list(_log_lines(lines))[-_LOG_LINES:])

    def _is_ours(self, name: str) -> bool:
        return name in self._known_names or is_launch_of(self._cluster_id, name)

    async def _offers_of(self, tier: str, node_type: NodeType) -> list[Offer]:
        params = {"include": "AVAILABILITY", "product": "POD", "count": str(gpu_count(node_type)), "cloud": tier}
        if node_type.min_cuda:
            params["minCudaVersion"] = _cuda(node_type.min_cuda)
        reply = await self._rest.get("/v2/catalog/gpus", params, CallKind.OFFERS)
        gpus = reply.fields().get("gpus")
        if not isinstance(gpus, list):
            raise CloudError(f"{self._rest.describe(reply)}; no catalogue can be read from it")
        return [offer for gpu in gpus for offer in _offers(gpu, tier, node_type)]

    async def _pods(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every pod of the account, page by page. Raises ListingFailed when a page is missing or says nothing."""
        params: dict[str, str] = {}
        seen: set[str] = set()
        for _page in range(_MAX_PAGES):
            reply = await self._rest.get("/v2/pods", params)
            body = reply.fields()
            if not isinstance(body.get("pods"), list):
                raise ListingFailed(f"runpod lists no pods, not even none: {reply.text[:80]!r}")
            for pod in body["pods"]:
                yield pod
            pagination = body.get("pagination") or {}
            if not pagination.get("hasNextPage"):
                return
            cursor = pagination.get("nextCursor")
            if not isinstance(cursor, str) or not cursor or cursor in seen:
                raise ListingFailed("runpod announces a next page of pods and does not give it")
            seen.add(cursor)
            params = {"cursor": cursor}
        raise ListingFailed(f"runpod lists more than {_MAX_PAGES} pages of pods")

    def _instance(self, pod: Mapping[str, Any]) -> Instance:
        """As listed, or failed when it is in another data centre than asked for: the API takes that as a preference."""
        instance, place, wanted = _instance(pod), pod.get("dataCenterId"), self._places.get(pod["name"])
        if wanted is None or place is None or place == wanted:
            return instance
        return replace(instance, status=InstanceStatus.FAILED, detail=f"RunPod placed it in {place}, not in {wanted}")

    def _refusal(self, reply: Reply) -> CloudError:
        """What a refused purchase means. 403 in the API's own words concerns this offer only."""
        said = self._rest.describe(reply)
        if reply.status == 410:
            return self._rest.failure(reply)
        if reply.status == 400 and _NO_CAPACITY.search(reply.prose):
            return NoCapacity(reply.prose)
        if reply.status in (400, 403) and _QUOTA.search(reply.prose):
            return QuotaExceeded(said)
        if reply.status == 400 and _UNCLEAR.search(reply.prose):
            return OutcomeUnknown(said)
        if reply.status in (400, 403, 404, 409, 413, 422):
            return RequestRefused(said)
        return OutcomeUnknown(said)


def _offers(gpu: Mapping[str, Any], tier: str, node_type: NodeType) -> Iterator[Offer]:
    key, count = tier.lower(), gpu_count(node_type)
    price = gpu["price"].get(key) or 0.0
    if not gpu.get(key) or price <= 0 or gpu.get("manufacturer") != "NVIDIA" or gpu["maxCount"][key] < count:
        return
    places = [(centre["id"], centre["availability"]) for centre in gpu.get("dataCenters") or ()]
    for place, level in places if node_type.regions else [("", gpu.get("availability"))]:
        offer = Offer(
            cloud="runpod",
            offer_id="/".join((tier, place, gpu["id"])),
            gpu_name=gpu["name"],
            price_usd_per_hour=price * count,
            usual_boot_s=_USUAL_BOOT_S,
            region=place or "anywhere",
            trust=_TIERS[tier],
            gpu_count=count,
            gpu_memory_gib=float(gpu["memory"]),
            storage_usd_per_hour=node_type.disk_gib * _DISK_USD_PER_GIB_HOUR,
            availability=_AVAILABILITY.get(str(level), 0.0),
        )
        machine = Machine(country=country_of(place), gpu_names=(gpu["id"],))
        if offer.availability > 0 and not unmet(node_type, offer, machine):
            yield offer


def country_of(data_center_id: str) -> str:
    """The country in an id such as EU-RO-1, EUR-IS-1 or US-TX-3; "" where there is none."""
    words = data_center_id.split("-")
    if words[0] in ("US", "CA"):
        return words[0]
    return words[1] if len(words) == 3 and len(words[1]) == 2 else ""


def _body(request: LaunchRequest) -> dict[str, Any]:
    tier, place, gpu_id = request.offer.offer_id.split("/", 2)
    gpu: dict[str, Any] = {"id": gpu_id, "count": request.offer.gpu_count}
    if request.node_type.min_cuda:
        gpu["minCudaVersion"] = _cuda(request.node_type.min_cuda)
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


def _place(request: LaunchRequest) -> str:
    return request.offer.offer_id.split("/", 2)[1]


def _cuda(version: str) -> str:
    """The two numbers that the API wants."""
    numbers = (*version_key(version), 0)
    return f"{numbers[0]}.{numbers[1]}"


def _instance(pod: Mapping[str, Any]) -> Instance:
    """Raises KeyError, TypeError or ValueError when the pod is not one."""
    state = pod["status"]
    detail = "" if state == "RUNNING" else f"RunPod calls it {state}"
    if state == "RUNNING" and not pod.get("runtime"):
        detail = "RunPod calls it RUNNING and tells nothing of its container"
    if not isinstance(pod["id"], str) or not pod["id"] or not isinstance(state, str):
        raise ValueError("its id or status is no text")
    return Instance(
        cloud="runpod",
        instance_id=pod["id"],
        name=pod["name"],
        status=_STATUS.get(state, InstanceStatus.PENDING),
        created_at=datetime.fromisoformat(pod["createdAt"]).timestamp(),
        price_usd_per_hour=float(pod.get("cost") or 0.0),
        detail=detail,
    )


def _log_lines(lines: Sequence[str]) -> Iterator[str]:
    """The messages of a stream of server-sent events."""
    for line in lines:
        if line.startswith("data:"):
            try:
                yield str(json.loads(line.removeprefix("data:"))["line"]).strip()
            except (ValueError, KeyError, TypeError):
                continue
