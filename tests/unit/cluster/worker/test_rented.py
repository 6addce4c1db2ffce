"""A machine that joins says which one it is, and the head hears it."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from autoscaler.fleet.demand import Demand
from autoscaler.fleet.reports import Reports
from cluster.orchestrator.overlay_server import OverlayFleet
from cluster.overlay.spoke import Spoke
from cluster.worker.rented_entrypoint import Ending, Rented


class Line:
    """A spoke that is let in at once, and keeps what it is to report."""

    def __init__(self) -> None:
        self.reports: list[Mapping[str, Any]] = []

    async def join(self, _timeout_s: float) -> dict[str, Any]:
        return {}

    def report(self, report: Mapping[str, Any]) -> None:
        self.reports.append(report)

    async def close(self) -> None:
        pass


class Idle(Rented):
    """Joins, and has nothing to do."""

    async def _work(self, grant: Mapping[str, Any]) -> None:
        raise Ending("there is nothing to do")


class Heard:
    """What machines report."""

    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def phase(self, name: str, phase: str, _ago_s: float) -> None:
        self.said.append((name, phase))

    def identified(self, name: str, instance_id: str) -> None:
        self.said.append((name, "is", instance_id))


def test_a_machine_that_joins_says_which_one_it_is_and_the_head_hears_it() -> None:
    line, heard = Line(), Heard()
    worker = Idle("a", cast(Spoke, line), 60.0, 60.0, None, instance_id="pod7")
    assert asyncio.run(worker.live()) == "there is nothing to do"
    fleet = OverlayFleet(cast(Demand, None), cast(Reports, heard), lambda: True)
    for report in line.reports:
        fleet.reached("a", report["phase"], report["detail"], report["ago_s"])
    assert ("a", "joined") in heard.said
    assert [said for said in heard.said if said[1] == "is" and said[2]] == [("a", "is", "pod7")]
