"""The orchestrator's view of machines and money, as the service reads it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx

# Many requests at once are answered from one reading.
_FRESH_S = 0.3


class FleetReader:
    """A client with the `fleet` token, which reads and changes nothing."""

    def __init__(
        self,
        orchestrator_url: str,
        token: str,
        transport: httpx.AsyncBaseTransport | None = None,
        ray_warnings: Sequence[str] = (),
    ) -> None:
        self._of_ray = {"ray_warnings": list(ray_warnings)} if ray_warnings else {}
        self._client = httpx.AsyncClient(
            base_url=orchestrator_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=2.0,
            transport=transport,
        )
        self._lock, self._read_at = asyncio.Lock(), float("-inf")
        self._latest: dict[str, Any] = {}

    async def fleet(self) -> dict[str, Any]:
        """The instances, at most 0.3 s old; without any, and degraded, while the orchestrator does not answer.

        `ray_warnings`, if there are any, say where Ray is not as AIMA wants it.
        """
        async with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_S:
                self._latest, self._read_at = await self._read(), time.monotonic()
            return self._latest | self._of_ray

    async def _read(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = (await self._client.get("/v1/fleet")).raise_for_status().json()
        except httpx.HTTPError as error:
            # Requests are stored and answered all the same; only the explanation is missing.
            return {"instances": [], "degraded": {"orchestrator": f"does not answer: {type(error).__name__}"}}
        return answer

    async def metrics(self) -> bytes:
        """The orchestrator's Prometheus exposition; b"" while it does not answer."""
        try:
            return (await self._client.get("/metrics")).raise_for_status().content
        except httpx.HTTPError:
            return b""
