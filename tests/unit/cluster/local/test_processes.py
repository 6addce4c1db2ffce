"""Which processes a killed head has left, and which are its workers': with real processes."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cluster.local.processes import MARKER, head_processes, processes

CLUSTER = f"aima-test-{os.getpid()}"


@contextmanager
def sleeping(environment: Mapping[str, str], output: Path | None = None) -> Iterator[int]:
    """A process with this environment alone, whose output goes to `output`."""
    with ExitStack() as stack:
        out = stack.enter_context(output.open("ab")) if output else subprocess.DEVNULL
        process = subprocess.Popen(["/bin/sleep", "300"], env=environment, stdout=out, stderr=subprocess.DEVNULL)
        try:
            yield process.pid
        finally:
            process.kill()
            process.wait()


def test_the_heads_leftovers_are_told_from_its_workers(tmp_path: Path) -> None:
    ray_dir = tmp_path / CLUSTER
    ray_dir.mkdir()
    mark = {MARKER: CLUSTER}
    with (
        sleeping(mark) as head,
        sleeping({}, ray_dir / "worker.out") as orphan,  # its title lies over its environment, its parent is dead
        sleeping(mark | {"AIMA_INSTANCE": "w1"}, ray_dir / "raylet.out") as worker,
        sleeping({"AIMA_INSTANCE": "w2"}, ray_dir / "rented.out") as rented,  # from a fake cloud on this machine
        sleeping({MARKER: "another"}, tmp_path / "other.out") as stranger,
        sleeping({}, tmp_path / f"{CLUSTER}-like.out") as namesake,
    ):
        left = {process.pid for process in head_processes(CLUSTER, ray_dir)}
        everything = {process.pid for process in processes(CLUSTER)}
    assert left == {head, orphan}
    assert everything == {head, worker}
    assert not {rented, stranger, namesake} & (left | everything)
