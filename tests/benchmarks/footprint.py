"""What everything always on costs an idle machine: `python -m tests.benchmarks.footprint [--minutes N] [--json]`.

Starts a real cluster on a small PostgreSQL of its own (the settings of k8s/base), lets it settle, then watches it
idle: memory as proportional set size (a page that n processes share counts 1/n in each, so the sum is what the
machine really holds), CPU as the time that the processes and their ended children took. The queue is in the database.

The cluster runs with the packages of an always-on head only (head_environment.py); `--as-installed` takes this
environment as it is. `--without NAME` leaves out patches of Ray (cluster/ray_patches/registry.py), or `all` of them:
that measures what they buy.

With a longer window the slope tells growth: a least-squares line through the samples, in MiB per hour. Clusters that
run from the same installation at the same time make shared pages look cheaper: measure alone.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import psutil

from cluster.config.schema import HttpSettings, RaySettings, Settings
from cluster.config.state_directory import StateDir
from cluster.local import embedded
from cluster.local.processes import processes
from cluster.ray_patches.registry import PATCH_NAMES
from tests.benchmarks import head_environment
from tests.support.servers.small_postgres import SmallPostgres, small_postgres

GOALS = {"pss_mib": 1024.0, "cpu_percent": 5.0}
_MIB = 1024**2
_SAMPLES = 20
# The first words found name a process's component. Ray's workers and agents write titles over their command lines.
_COMPONENTS = (
    ("cluster.orchestrator.process", "orchestrator"),
    ("raylet /", "raylet and object store"),
    ("ServeController", "Serve controller"),
    ("ProxyActor", "Serve proxy"),
    ("ServeReplica:aima:Api", "API and dispatcher"),
    ("ray::IDLE", "idle Ray workers"),
    ("ray-dashboard", "Ray dashboard: modules"),
    ("DashboardAgent", "Ray dashboard agent"),
    ("dashboard/agent.py", "Ray dashboard agent"),
    ("dashboard.py", "Ray dashboard: jobs API"),
    ("RuntimeEnvAgent", "Ray runtime environment agent"),
    ("runtime_env/agent", "Ray runtime environment agent"),
    ("gcs_server", "Ray GCS"),
    ("multiprocessing", "Ray dashboard: modules"),
    ("v2/monitor.py", "Ray autoscaler"),
    ("log_monitor", "Ray log monitor"),
    ("ray.util.client.server", "Ray Client server"),
    ("cluster.head.start", "head's first process"),
    ("postgres", "PostgreSQL"),
)

# What was done about each, for the table.
_SLIMMED = {
    "API and dispatcher": "chores rest while all is quiet",
    "Serve controller": "looks once a second while nothing is on its way, not ten times",
    "Ray dashboard: modules": "four of nine: jobs, nodes, Serve, state",
    "Ray dashboard agent": "reports every minute, no metrics",
    "Ray autoscaler": "reads its configuration when it changes, not every second",
    "Ray GCS": "on disk (RocksDB); no metrics, no dumps",
    "raylet and object store": "80 MiB of store at most; slow timers",
    "head's first process": "becomes a program that only waits; `ray start` ends once all is started",
    "PostgreSQL": "[postgresql.conf](k8s/base/postgresql.conf); the queue is in it",
    "orchestrator": "nothing of Ray in it",
}


def component_of(command: str) -> str:
    """The component of a process, by its command line or title."""
    return next((name for words, name in _COMPONENTS if words in command), f"other: {command[:80]}")


def _component(process: psutil.Process) -> str:
    # The raylet's command line holds those of its agents: its program's name comes first.
    return component_of(" ".join([process.name(), *process.cmdline()]))


def slope_per_hour(samples: Sequence[tuple[float, float]]) -> float:
    """The least-squares slope of (seconds, value) samples, per hour; 0 for fewer than two."""
    if len(samples) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*samples, strict=True)).slope * 3600


def pss_mib(processes: Sequence[psutil.Process]) -> dict[str, float]:
    """The proportional set size by component, in MiB."""
    sizes: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        try:
            sizes[_component(process)] += process.memory_full_info().pss / _MIB
        except psutil.NoSuchProcess:
            continue
    return sizes


def cpu_s(processes: Sequence[psutil.Process]) -> dict[tuple[int, str], float]:
    """CPU seconds by pid and component, those of ended and awaited children included."""
    seconds = {}
    for process in processes:
        try:
            seconds[process.pid, _component(process)] = sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return seconds


def measure(cluster_id: str, database: SmallPostgres, window_s: float) -> dict[str, object]:
    """Watch an idle cluster for `window_s` seconds."""

    def everything() -> list[psutil.Process]:
        return [*processes(cluster_id), *database.processes()]

    samples, started, before = [], time.monotonic(), cpu_s(everything())
    for number in range(_SAMPLES):
        time.sleep(max(0.0, started + window_s * (number + 1) / _SAMPLES - time.monotonic()))
        samples.append((time.monotonic() - started, pss_mib(everything())))
    took_s, after = time.monotonic() - started, cpu_s(everything())
    busy: defaultdict[str, float] = defaultdict(float)
    for (pid, name), seconds in after.items():
        busy[name] += seconds - before.get((pid, name), 0.0)
    totals = [(at, sum(sizes.values())) for at, sizes in samples]
    components = {name: statistics.median(s.get(name, 0.0) for _at, s in samples) for name in sorted(samples[-1][1])}
    return {
        "pss_mib": round(statistics.median(total for _at, total in totals), 1),
        "cpu_percent": round(100 * sum(busy.values()) / took_s, 2),
        "components": {name: round(size, 1) for name, size in components.items()},
        "cpu_percent_by_component": {name: round(100 * s / took_s, 2) for name, s in sorted(busy.items())},
        "window_s": round(took_s, 1),
        "slope_mib_per_hour": round(slope_per_hour(totals), 1),
    }


def main() -> None:
    """Measure once, print the table against the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--settle-s", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--without", action="append", default=[], choices=["all", *PATCH_NAMES])
    parser.add_argument("--as-installed", action="store_true")
    options = parser.parse_args()
    if not options.as_installed:
        sys.exit(head_environment.run("tests.benchmarks.footprint", [*sys.argv[1:], "--as-installed"]))
    ray = RaySettings(patches="off") if "all" in options.without else RaySettings(without_patches=options.without)
    with tempfile.TemporaryDirectory() as directory, small_postgres() as database:
        http, url = HttpSettings(port=0), database.url
        state_dir = Path(directory)
        card = embedded.up(Settings(state_dir=state_dir, http=http, database_url=url, ray=ray).resolved())
        try:
            time.sleep(options.settle_s)
            report = measure(card.cluster_id, database, options.minutes * 60)
        finally:
            embedded.down(StateDir(state_dir))
    print_table(report)
    if options.json:
        print(json.dumps(report))


def print_table(report: dict[str, object]) -> None:
    """Print components, largest first, what was done about each, and the totals beside their goals, as Markdown."""
    components: dict[str, float] = report["components"]  # type: ignore[assignment]
    busy: dict[str, float] = report["cpu_percent_by_component"]  # type: ignore[assignment]
    print("| component | MiB | % of a core | what was slimmed, and how |\n| --- | ---: | ---: | --- |")
    for name, size in sorted(components.items(), key=lambda item: -item[1]):
        print(f"| {name} | {size:.0f} | {busy.get(name, 0.0):.2f} | {_SLIMMED.get(name, '')} |")
    print(f"| **together** | **{report['pss_mib']:.0f}** | **{report['cpu_percent']:.2f}** | |")
    print(f"| goal | {GOALS['pss_mib']:.0f} | {GOALS['cpu_percent']:.0f} | |")
    print(f"\nwatched for {report['window_s']} s; memory changes by {report['slope_mib_per_hour']} MiB an hour")


if __name__ == "__main__":
    main()
