"""The Kubernetes API server, as a pod reaches it: one token that rotates in its file, the cluster's own authority.

Not http.py, which holds one key for ever and speaks of purchases: here a change is a patch that names the version it
was made from, and a conflict surely changed nothing. Reads are complete (all pages) or raise.
"""

import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from autoscaler.clouds.rate_limits import retry_after_s
from autoscaler.errors import CloudError, KeyRefused, OutcomeUnknown, RateLimited, RequestRefused

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_CLUSTER_URL = "https://kubernetes.default.svc"
_TIMEOUT = httpx.Timeout(8.0, connect=4.0)
_PAGE_SIZE, _MAX_PAGES, _MAX_PODS = "250", 100, 10_000


class Conflict(CloudError):
    """Somebody else changed the object first: nothing was changed by this call. Read it again."""


class NotFound(CloudError):
    """There is no such object."""


class KubernetesApi:
    """One namespace of one cluster. `credentials` is the folder with `token` and `ca.crt`.

    `wall_clock` gives unix seconds, by which dates in answers are judged.
    """

    def __init__(
        self, base_url: str, namespace: str, credentials: Path, wall_clock: Callable[[], float] | None = None
    ) -> None:
        self._namespace, self._token_path = namespace, credentials / "token"
        self._now_unix: Callable[[], float | None] = wall_clock or (lambda: None)
        authority = credentials / "ca.crt"
        verify = ssl.create_default_context(cafile=str(authority)) if authority.exists() else True
        self._http = httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT, verify=verify, trust_env=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def pods(self, labels: Mapping[str, str]) -> list[Any]:
        """All rows of pods with these labels, over all pages. Raises CloudError rather than return a part."""
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        params = {"labelSelector": selector, "limit": _PAGE_SIZE}
        pods: list[Any] = []
        seen: set[str] = set()
        for _page in range(_MAX_PAGES):
            body = await self._read(path, params)
            items = body.get("items")
            if not isinstance(items, list):
                raise CloudError("the API server answered no list of pods")
            pods += items
            if len(pods) > _MAX_PODS:
                raise CloudError(f"the API server lists more than {_MAX_PODS} pods")
            metadata = body.get("metadata")
            following = metadata.get("continue") if isinstance(metadata, dict) else None
            if following is None or following == "":
                return pods
            if not isinstance(following, str) or following in seen:
                raise CloudError("the API server gives the same page of pods again and again, or none")
            seen.add(following)
            params["continue"] = following
        raise CloudError(f"the list of pods did not end after {_MAX_PAGES} pages")

    async def ray_cluster(self, name: str) -> dict[str, Any]:
        """The RayCluster. Raises NotFound."""
        body = await self._read(self._ray_cluster_path(name))
        if not isinstance(body.get("spec"), dict) or "resourceVersion" not in (body.get("metadata") or {}):
            raise CloudError(f"the API server's answer is not the RayCluster {name}")
        return body

    async def patch_ray_cluster(self, name: str, version: str, operations: Sequence[Mapping[str, Any]]) -> None:
        """Change it if it still is at `version` (its resourceVersion). Raises Conflict when it is not.

        Raises OutcomeUnknown when the change may have happened, other CloudErrors when it surely did not.
        """
        # A patch that sets the version it was made from is refused with 409 when that is not the current one.
        body = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}, *operations]
        headers = {**self._headers(), "Content-Type": "application/json-patch+json"}
        try:
            reply = await self._http.patch(self._ray_cluster_path(name), content=json.dumps(body), headers=headers)
        except httpx.ConnectError as error:
            raise CloudError(f"the API server cannot be reached: {error}") from None
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"the API server did not answer a change: {type(error).__name__}") from None
        if reply.status_code >= 500:
            raise OutcomeUnknown(f"the API server answered a change with {_says(reply)}")
        _check(reply, self._now_unix())

    async def _read(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            reply = await self._http.get(path, params=dict(params or {}), headers=self._headers())
        except httpx.HTTPError as error:
            raise CloudError(f"the API server did not answer: {type(error).__name__}") from None
        _check(reply, self._now_unix())
        try:
            body = reply.json()
        except (ValueError, RecursionError):
            raise CloudError("the API server's answer is not JSON") from None
        if not isinstance(body, dict):
            raise CloudError("the API server's answer is not an object")
        return body

    def _headers(self) -> dict[str, str]:
        try:
            token = self._token_path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise KeyRefused(
                f"the service account's token {self._token_path} cannot be read: {error.strerror}"
            ) from None
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def _ray_cluster_path(self, name: str) -> str:
        return f"/apis/ray.io/v1/namespaces/{self._namespace}/rayclusters/{name}"


def _check(reply: httpx.Response, now_unix: float | None) -> None:
    if reply.is_success:
        return
    says = _says(reply)
    if reply.status_code in (401, 403):
        raise KeyRefused(f"the service account may not do this: {says}")
    if reply.status_code == 404:
        raise NotFound(says)
    if reply.status_code == 409:
        raise Conflict(says)
    if reply.status_code == 429:
        raise RateLimited(says, retry_after_s(reply.headers, "", now_unix))
    raise RequestRefused(says) if reply.is_client_error else CloudError(says)


def _says(reply: httpx.Response) -> str:
    try:
        message = str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = reply.text
    return f"{reply.status_code}: {message[:300]}"
