"""What the service knows of the fleet, and of the head's memory."""

import asyncio
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.head.memory import has_own_container, of_container, of_processes
from cluster.service.fleet_client import FleetReader
from serve_apps.monitoring.metrics import Memory


def reader(answers: dict[str, httpx.Response | Exception]) -> FleetReader:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer a-token"
        found = answers[request.url.path]
        if isinstance(found, Exception):
            raise found
        return found

    return FleetReader("http://orchestrator", "a-token", httpx.MockTransport(answer))


def test_many_requests_are_answered_from_one_reading() -> None:
    answers: dict[str, httpx.Response | Exception] = {"/v1/fleet": httpx.Response(200, json={"instances": [1]})}

    async def ask() -> None:
        fleet = reader(answers)
        first = await fleet.fleet()
        answers["/v1/fleet"] = httpx.Response(200, json={"instances": [2]})
        assert await fleet.fleet() == first == {"instances": [1]}

    asyncio.run(ask())


def test_an_orchestrator_that_is_silent_is_said_to_be() -> None:
    silent = httpx.ConnectError("refused")
    fleet = reader({"/v1/fleet": silent, "/metrics": httpx.Response(500)})
    assert asyncio.run(fleet.fleet()) == {
        "instances": [],
        "degraded": {"orchestrator": "does not answer: ConnectError"},
    }
    assert asyncio.run(reader({"/metrics": httpx.Response(500)}).metrics()) == b""
    assert asyncio.run(reader({"/metrics": httpx.Response(200, content=b"aima_x 1\n")}).metrics()) == b"aima_x 1\n"


@pytest.mark.parametrize("answer", [httpx.Response(200, json={"instances": []}), httpx.ConnectError("refused")])
def test_what_is_wrong_with_ray_is_said_beside_the_fleet(answer: httpx.Response | Exception) -> None:
    warnings = ["Ray runs without the patch serve_pacing: it has moved"]

    def ask(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    fleet = FleetReader("http://orchestrator", "a-token", httpx.MockTransport(ask), ray_warnings=warnings)
    assert asyncio.run(fleet.fleet())["ray_warnings"] == warnings


def test_a_container_with_a_limit_is_its_working_set(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1342177280\n")
    (tmp_path / "memory.current").write_text("900000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000000\ninactive_file 200000000\n")
    assert of_container(tmp_path) == Memory(700_000_000, 1_342_177_280)
    (tmp_path / "memory.max").write_text("max\n")
    assert of_container(tmp_path) is None
    assert of_container(tmp_path / "elsewhere") is None


def test_a_container_is_the_heads_own_when_its_first_process_is_the_head(tmp_path: Path) -> None:
    first = tmp_path / "cmdline"
    first.write_bytes(b"/usr/bin/python\0-m\0cluster.head.start\0")
    assert has_own_container(first)
    first.write_bytes(b"bash\0-c\0python -m cluster.head.start\0")
    assert not has_own_container(first)
    assert not has_own_container(tmp_path / "missing")


def test_elsewhere_the_heads_processes_are_added_up(tmp_path: Path) -> None:
    found = of_processes("no-such-cluster", tmp_path)
    assert found == Memory(0, psutil.virtual_memory().total)
