"""A machine that its cloud does not end is told through the overlay, and ends itself: hub, spoke and worker."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscaler.worker_command import HubAddress
from cluster.overlay.spoke import Spoke
from cluster.worker.rented_entrypoint import Rented
from tests.support.overlay.guests import hub


class Busy(Rented):
    """Works without a Ray node until it is told something else."""

    async def _work(self, grant: Mapping[str, Any]) -> None:
        await self.spoke.stay(60.0)


def test_a_worker_that_is_told_to_end_says_so_and_ends(tmp_path: Path) -> None:
    async def story() -> str:
        async with hub(tmp_path) as (made, _door):
            assert not made.tell_to_end("a", "nobody is there yet")
            where = HubAddress(f"unix:{tmp_path / 'hub.sock'}", 0, made.fingerprint)
            worker = Busy("a", Spoke(where, "a", "let a in"), 30.0, 3600.0, None)
            living = asyncio.create_task(worker.live())
            async with asyncio.timeout(60):
                while not made.tell_to_end("a", "its cloud refuses to end it"):
                    await asyncio.sleep(0.05)
                return await living

    assert "its cloud refuses to end it" in asyncio.run(story())
