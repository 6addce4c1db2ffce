"""A pytest plugin: a run of whole folders is spread over several processes, a run of single files stays in one.

Tests of a file, and of files that share a cluster, stay together. Tests that start Ray, or a browser, wait more than
they compute, but go wrong when they get no core in time. One process runs all of them, and everything else afterwards;
the others use the time that is left, with the lowest priority (Ray's workers have a low one, too).
`-n` on the command line decides otherwise; `-n 0` runs everything in one process.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

CLUSTERS = "tests/integration/"
# Tests with a cluster or a browser.
IN_TIME = (CLUSTERS, "tests/browser/")
ONE_CLUSTER = f"{CLUSTERS}conftest.py"
# Files whose tests share the cluster that conftest.py starts.
SHARE_IT = {f"{CLUSTERS}test_{name}.py" for name in ("first_light", "readme", "web_page")}
# What takes minutes begins first; everything else follows as it was collected.
LONGEST_FIRST = (
    ONE_CLUSTER,
    f"{CLUSTERS}overlay/test_overlay_cluster.py",
    f"{CLUSTERS}overlay/test_overlay_grace.py",
    f"{CLUSTERS}test_batch.py",
    f"{CLUSTERS}overlay/test_overlay_tunnel.py",
    "tests/linters/test_linters.py",
    "tests/contract/service/test_kills.py",
)
FIRST_PROCESS = "gw0"
# Below that of Ray's workers, which is 15.
_LOWEST_PRIORITY = 19


def processes(arguments: Sequence[str], root: Path) -> int:
    """How many processes a run with these arguments is spread over; 0: none but its own."""
    paths = [root / argument for argument in arguments]
    only_in_time = all(is_in_time(f"{path.relative_to(root)}/") for path in paths if path.is_relative_to(root))
    if not all(path.is_dir() for path in paths) or only_in_time:
        return 0
    return len(os.sched_getaffinity(0))


def together(nodeid: str) -> str:
    """What must run in one process with this test: the name of its file, or of what its file shares."""
    file = nodeid.partition("::")[0]
    return ONE_CLUSTER if file in SHARE_IT else file


def choose(waiting: Iterable[str], process: str) -> str:
    """Which of the files that wait this process works off next."""
    longest = {file: rank for rank, file in enumerate(LONGEST_FIRST)}
    return min(waiting, key=lambda file: (is_in_time(file) is not (process == FIRST_PROCESS), longest.get(file, 99)))


def is_in_time(file: str) -> bool:
    """Whether its tests go wrong when they get no core in time."""
    return file.startswith(IN_TIME)


class SideBySide(LoadScopeScheduling):  # type: ignore[misc]  # xdist's types are not followed
    """Hands files to processes in the order of `choose`."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)

    def _reschedule(self, node: Any) -> None:
        if node.gateway.id != FIRST_PROCESS and all(map(is_in_time, self.workqueue)):
            node.shutdown()
        else:
            super()._reschedule(node)

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(choose(self.workqueue, node.gateway.id), last=False)
        super()._assign_work_unit(node)


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config, "workerinput", {}).get("workerid", FIRST_PROCESS) != FIRST_PROCESS:
        os.nice(_LOWEST_PRIORITY)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the options
def pytest_cmdline_main(config: pytest.Config) -> None:
    option = config.option
    if hasattr(config, "workerinput") or option.numprocesses is not None or option.usepdb or option.collectonly:
        return
    option.numprocesses = processes(config.args, config.invocation_params.dir)
    option.loadscopereorder = False
    # A process that is started for one that died may wait for ever; the run ends, and has failed.
    option.maxworkerrestart = option.maxworkerrestart or "0"


def pytest_testnodedown(node: Any, error: object) -> None:
    if error:
        report = pytest.CollectReport(node.gateway.id, "failed", f"this process of the run died: {error}", [])
        node.config.hook.pytest_collectreport(report=report)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SideBySide:
    return SideBySide(config, log)
