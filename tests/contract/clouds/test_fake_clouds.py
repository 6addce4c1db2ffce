"""The fake clouds as programs of their own: strict, billing by the second, running containers that restart."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.waiting import wait_until

# Counts its starts, tells its environment, and exits when it is asked to.
CONTAINER = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / f"start-{len(list(folder.glob('start-*')))}").write_text(json.dumps(dict(os.environ)))
while not (folder / "exit").exists():
    time.sleep(0.02)
(folder / "exit").unlink()
"""


@dataclass
class Program:
    """A fake cloud in a process of its own."""

    process: subprocess.Popen[str]
    http: httpx.Client

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.request(method, path, json=body, **options)


@contextlib.contextmanager
def program(name: str, folder: Path, *options: str) -> Iterator[Program]:
    command = [sys.executable, "-m", f"autoscaler.fakes.{name}", "--boot-s", "0", "--log-dir", str(folder), *options]
    environment = os.environ | {"SOME_SECRET": "of this machine"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            with httpx.Client(base_url=found[0], headers={"Authorization": "Bearer fake-key"}, timeout=30) as client:
                yield Program(process, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def purchase(name: str, folder: Path) -> tuple[str, str, dict[str, Any]]:
    """Method, path and body that buy a machine for CONTAINER."""
    command = [sys.executable, "-c", CONTAINER, str(folder)]
    if name == "runpod":
        gpu = {"id": "NVIDIA L4", "count": 1}
        return (
            "POST",
            "/v2/pods",
            {"name": "a", "image": "i", "gpu": gpu, "args": shlex.join(command), "env": {"A": "b c"}},
        )
    body = {"image": "i", "label": "a", "runtype": "args", "args": command, "env": "-e 'A=b c'"}
    return "PUT", "/api/v0/asks/5000001/", body


def ending(name: str, machine_id: str) -> str:
    return f"/v2/pods/{machine_id}" if name == "runpod" else f"/api/v0/instances/{machine_id}/"


def environments(folder: Path) -> list[dict[str, str]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("start-*")) if path.stat().st_size]


@pytest.mark.parametrize("name", ["runpod", "vastai"])
def test_a_container_runs_restarts_and_ends_with_its_machine(name: str, tmp_path: Path) -> None:
    with program(name, tmp_path, "--containers") as cloud:
        bought = cloud.call(*purchase(name, tmp_path)).json()
        machine_id = str(bought.get("id") or bought.get("new_contract"))
        (first,) = wait_until("it starts", lambda: environments(tmp_path))
        own = {"runpod": ("RUNPOD_POD_ID", "RUNPOD_API_KEY"), "vastai": ("CONTAINER_ID", "CONTAINER_API_KEY")}[name]
        assert (first["A"], first[own[0]]) == ("b c", machine_id)
        assert first["RUNPOD_API_BASE_URL"] == str(cloud.http.base_url).rstrip("/")
        assert "SOME_SECRET" not in first
        (tmp_path / "exit").touch()
        wait_until("it starts again", lambda: len(environments(tmp_path)) == 2)
        cloud.call("POST", "/_fake/failures/F34")
        key = {"Authorization": f"Bearer {first[own[1]]}"}
        assert cloud.call("DELETE", ending(name, machine_id), headers=key).status_code in (403, 404)
        cloud.call("PATCH", "/_fake/behaviour", {"self_termination": True})
        processes = psutil.Process(cloud.process.pid).children(recursive=True)
        assert len(processes) == 1
        assert cloud.call("DELETE", ending(name, machine_id), headers=key).is_success
        psutil.wait_procs(processes, timeout=60)
        assert psutil.Process(cloud.process.pid).children() == []


def test_a_program_that_is_stopped_leaves_no_container(tmp_path: Path) -> None:
    with program("runpod", tmp_path, "--containers") as cloud:
        cloud.call(*purchase("runpod", tmp_path))
        wait_until("it starts", lambda: environments(tmp_path))
        processes = psutil.Process(cloud.process.pid).children(recursive=True)
    assert processes
    assert psutil.wait_procs(processes, timeout=60)[1] == []


@pytest.mark.parametrize("name", ["runpod", "vastai"])
def test_the_bill_counts_seconds_until_the_end(name: str, tmp_path: Path) -> None:
    with program(name, tmp_path) as cloud:
        bought = cloud.call(*purchase(name, tmp_path)).json()
        machine_id = str(bought.get("id") or bought.get("new_contract"))
        cloud.call("POST", "/_fake/clock", {"seconds": 600.0})
        assert cloud.call("DELETE", ending(name, machine_id)).is_success
        cloud.call("POST", "/_fake/clock", {"seconds": 600.0})
        bill = cloud.call("GET", "/_fake/bill").json()
        (line,) = bill["machines"].values()
        assert line["billed_s"] == pytest.approx(600, abs=30)
        assert bill["balance_usd"] == pytest.approx(100 - line["usd"])
        assert line["usd"] > 0


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"spot": True}, 422),
        ({"gpu": {"id": "NVIDIA L4", "count": 1, "minVcpuCountPerGpu": 8}}, 422),
        ({"gpu": {"id": "NVIDIA L4"}}, 400),
        ({"gpu": {"id": "NVIDIA GTX 480", "count": 1}}, 404),
        ({"env": {str(number): "x" for number in range(51)}}, 400),
        ({"args": "x" * 102_400}, 413),
        ({"disk": "20"}, 422),
    ],
)
def test_runpod_refuses_what_the_real_one_refuses(runpod: Program, change: dict[str, Any], status: int) -> None:
    method, path, body = purchase("runpod", Path("/"))
    reply = runpod.call(method, path, body | change)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert runpod.call("GET", "/_fake/bill").json()["machines"] == {}


def test_runpods_edge_answers_in_html_where_no_user_agent_is_named(runpod: Program) -> None:
    reply = runpod.call("GET", "/v2/pods", headers={"User-Agent": ""})
    assert (reply.status_code, reply.headers["content-type"][:9]) == (403, "text/html")


def test_runpod_limits_the_rate_of_calls(runpod: Program) -> None:
    replies = [runpod.call("GET", "/v2/pods") for _ in range(121)]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert refused
    assert "r=0;t=" in refused[0].headers["ratelimit"]
    assert int(refused[0].headers["retry-after"]) <= 60


@pytest.fixture(scope="module")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program("runpod", tmp_path_factory.mktemp("runpod")) as cloud:
        yield cloud


@pytest.mark.parametrize(
    "body", [{"colour": {"eq": "red"}}, {"gpu_ram": {"about": 24}}, {"order": [["beauty", "asc"]]}]
)
def test_vast_refuses_a_search_that_it_does_not_know(vastai: Program, body: dict[str, Any]) -> None:
    assert vastai.call("POST", "/api/v0/bundles/", body).status_code == 400


def test_vast_refuses_what_the_real_one_refuses(vastai: Program) -> None:
    method, path, body = purchase("vastai", Path("/"))
    assert vastai.call(method, path, body | {"spot": True}).status_code == 400
    assert vastai.call(method, "/api/v0/asks/1/", body).status_code in (404, 429)
    reply = vastai.call("GET", "/api/v1/instances/", headers={"Authorization": "Bearer wrong"})
    assert (reply.status_code, reply.json()["error"]) == (404, "auth_error")


@pytest.fixture(scope="module")
def vastai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program("vastai", tmp_path_factory.mktemp("vastai")) as cloud:
        yield cloud


def test_an_unknown_failure_is_answered_with_those_there_are(vastai: Program) -> None:
    reply = vastai.call("POST", "/_fake/failures/F99")
    assert (reply.status_code, "V4" in reply.text) == (404, True)
    assert "auth_error" in vastai.call("GET", "/_fake/failures").json()["V3"]
