"""Batch jobs as a user submits them: with Ray's own command, at the door that a cluster has for it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.conftest import Running


def ray_token(cluster: Running) -> dict[str, str]:
    """The variables with which Ray's tools are let in."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(cluster.state.token_path("ray"))}


@contextmanager
def video_job(cluster: Running, flags: Sequence[str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`ray job submit FLAGS -- python -m pipelines.video ARGUMENTS`, which prints the job's log and ends with it."""
    card = cluster.card
    door = {"RAY_ADDRESS": f"http://{card.host}:{card.address.dashboard_port}"}
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "job", "submit", *flags, "--", sys.executable, "-m", "pipelines.video", *arguments]
    with subprocess.Popen(
        command,
        env=os.environ | door | ray_token(cluster),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as job:
        try:
            yield job
        finally:
            job.kill()


def finished(job: subprocess.Popen[str], timeout_s: float = 200) -> str:
    """What it has printed; it must end well."""
    out, _ = job.communicate(timeout=timeout_s)
    assert job.returncode == 0, out
    return out
