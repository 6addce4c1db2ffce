"""Ours, peers and the limit on the same clips: `python -m tests.benchmarks.video [--clips N] [--runs N] [--json]`.

Each contestant runs in a process of its own, one after another, `--runs` rounds of all; the median round counts.
`serve` (requests to a warm replica) and `whole_clips` (another loop by hand) are compared with the limit's loop alone;
the others start their own workers and load their own models: they are compared with the limit including its imports and
model. Starting Ray is not counted, nor what a worker of ours imports before there is work
(cluster/ray_patches/preloaded_worker.py), which all that run on Ray have.
Memory is the peak, over the whole tree of processes, of their proportional set sizes. CPU seconds are given by what
the processes are for, Ray's start included: what Ray costs, and where.
"""

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil
from matplotlib.figure import Figure

from pipelines.media.sample_video import sample_video
from tests.benchmarks.video_peers import PEERS

GOALS = {"serve": 1.05, "ray_data": 1.15}
# Looking takes CPU time from who is looked at, the more the more processes it has, and reading a process's page tables
# holds it up, too: a look is followed by this many times as long without one.
_WATCH_FACTOR, _WATCH_S = 200, 1.0
# What a process is for, by what it calls itself: the first that fits.
_PARTS = {
    "decoding": r"pipelines\.decode_process",
    "actors of Ray Data and Serve": r"^ray::(_StatsActor|_Autoscaling|ActorLocation|ServeController|ProxyActor)",
    "Ray itself": r"^ray::(IDLE|DashboardAgent|RuntimeEnvAgent)|/ray/(core|dashboard|_private|autoscaler)/",
    "work": r"^ray::",
    "program": "",
}


def main() -> None:
    """Print the table, draw the plot, and with --json the ratios as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=72)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--fps", type=float, default=2.0, help="0: every frame")
    parser.add_argument("--side", type=int, default=224, help="frames are decoded to this width and height")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--timeout-s", type=float, default=600, help="for one run; who is late is left out then")
    parser.add_argument("--plot", type=Path, help="write a bar chart here (PNG)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="video-benchmark-") as folder:
        job = Path(folder, "job.json")
        clips = [str(path) for path in make_clips(Path(folder), options.clips)]
        job.write_text(json.dumps({"clips": clips, "fps": options.fps, "side": options.side}))
        runs, late = all_runs(options.peers.split(","), options.runs, job, options.timeout_s)
    report = summary(runs)
    for name, row in report.items():
        print(
            f"{name:20} {row['cold_s']:7.1f} s cold {row['warm_s']:7.1f} s warm {row['ratio']:6.2f} x limit "
            f"{row['cpu_s']:7.1f} CPU s {row['peak_mib']:6.0f} MiB  same labels {row['agreement']:.1%}"
            + (f"  (goal {GOALS[name]:g} x)" if name in GOALS else "")
        )
        parts = sorted(row["cpu_parts_s"].items(), key=lambda part: -part[1])
        print(" " * 21 + "CPU: " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in parts if seconds))
    for name, run in late.items():
        at_least = f"more than {run['ratio']:.1f} x limit" if "ratio" in run else "there is no limit to compare with"
        print(f"{name:20} not within {options.timeout_s:g} s: {at_least}, {run['peak_mib']:.0f} MiB")
    if options.plot:
        draw(report, options.plot)
    if options.json:
        told = {name: row for name, row in (report | late).items() if "ratio" in row}
        ratios = {name: round(row["ratio"], 3) for name, row in told.items() if name != "limit"}
        peaks = {name: round(row["peak_mib"]) for name, row in told.items()}
        cpu_s = {name: row["cpu_parts_s"] for name, row in report.items()}
        print(json.dumps({"ratio_to_limit": ratios, "peak_mib": peaks, "cpu_s": cpu_s, "at_least": list(late)}))


def all_runs(
    peers: Sequence[str], rounds: int, job: Path, timeout_s: float
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """Every contestant's runs, and of those that came too late (and were left out then) what they took at least."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
    late: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for round_number in range(rounds):
        for name in [name for name in peers if name not in late]:
            started = time.monotonic()
            run = measured(name, job, timeout_s)
            seconds[name] = time.monotonic() - started
            if "cold_s" in run:
                runs[name].append(run)
            else:
                del runs[name]
                late[name] = run | ({"ratio": timeout_s / runs["limit"][-1]["cold_s"]} if runs.get("limit") else {})
            usual_s = sum(seconds.values()) / len(seconds)
            once = sum(seconds.get(n, usual_s) for n in peers if n not in late)
            rest = peers[peers.index(name) + 1 :]
            left_s = sum(seconds.get(n, usual_s) for n in rest if n not in late) + once * (rounds - 1 - round_number)
            said = _line(run) if "cold_s" in run else f"not within {timeout_s:g} s"
            print(f"round {round_number + 1}/{rounds} {name}: {said}; about {left_s:.0f} s left", flush=True)
    return runs, late


def measured(name: str, job: Path, timeout_s: float) -> dict[str, Any]:
    """One run: its own figures (none if it was too late), the CPU seconds of all its processes, their peak memory."""
    command = [sys.executable, "-m", "tests.benchmarks.video_peers", name, str(job)]
    told = job.with_suffix(f".{name}")  # not a pipe, which holds the labels of two thousand frames
    with told.open("w") as output:
        process = psutil.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
    peak, next_look, next_pss = 0, 0.0, 0.0
    cpu_s, parts = {process.pid: 0.0}, {process.pid: "program"}
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            for member in _tree(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()
            return {"peak_mib": peak / 2**20, "cpu_s": sum(cpu_s.values())}
        if (looked := time.monotonic()) >= next_look:
            next_look = looked + _WATCH_S
            members = _tree(process)
            for member in members:
                _note_cpu(member, cpu_s, parts)
            if (looked := time.monotonic()) >= next_pss:
                peak = max(peak, sum(map(_pss, members)))
                next_pss = time.monotonic() + _WATCH_FACTOR * (time.monotonic() - looked)
        time.sleep(0.1)
    text = told.read_text()
    if process.returncode:
        raise SystemExit(f"{name} failed: {text}")
    figures: dict[str, Any] = json.loads(text.splitlines()[-1])
    by_part = {part: sum(s for pid, s in cpu_s.items() if parts[pid] == part) for part in {*parts.values()}}
    return figures | {"peak_mib": peak / 2**20, "cpu_s": sum(cpu_s.values()), "cpu_parts_s": by_part}


def _tree(process: Any) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _note_cpu(process: psutil.Process, cpu_s: dict[int, float], parts: dict[int, str]) -> None:
    with contextlib.suppress(psutil.Error):
        times, title = process.cpu_times(), " ".join(process.cmdline())
        cpu_s[process.pid] = times.user + times.system
        part = next(part for part, words in _PARTS.items() if re.search(words, title))
        if process.pid not in parts or (title and not title.startswith("ray::IDLE")):  # as which worked ones end
            parts[process.pid] = part


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The medians, and the ratios to the limit of the same round."""
    report = {}
    for name, results in runs.items():
        keys = ("cold_s", "warm_s", "cpu_s", "peak_mib")
        row: dict[str, Any] = {key: statistics.median(r[key] for r in results) for key in keys}
        of_parts = [r["cpu_parts_s"] for r in results]
        row["cpu_parts_s"] = {
            part: round(statistics.median(found.get(part, 0.0) for found in of_parts), 1) for part in _PARTS
        }
        kind = "warm_s" if name in ("serve", "whole_clips") else "cold_s"
        limits = runs.get("limit", results)
        row["ratio"] = statistics.median(r[kind] / limit[kind] for r, limit in zip(results, limits, strict=True))
        row["agreement"] = _agreement(results[-1]["labels"], limits[-1]["labels"])
        report[name] = row
    return report


def _agreement(labels: dict[str, str], reference: dict[str, str]) -> float:
    return sum(labels.get(key) == label for key, label in reference.items()) / max(len(reference), len(labels))


def _line(run: dict[str, Any]) -> str:
    return (
        f"{run['cold_s']:.1f} s ({run['warm_s']:.1f} warm), {run['cpu_s']:.1f} CPU s, "
        f"{run['peak_mib']:.0f} MiB, {len(run['labels'])} frames"
    )


def make_clips(folder: Path, count: int) -> list[Path]:
    """`count` clips of 10 s, 1280x720, H.264: four different ones under many names."""
    originals = [_clip(folder / f"original{number}.mp4", number) for number in range(min(4, count))]
    names = [folder / f"clip{number:04d}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        name.hardlink_to(originals[number % len(originals)])
    return names


def _clip(path: Path, offset: int) -> Path:
    """The sample video, scaled up, beginning `offset` seconds in."""
    with av.open(str(sample_video())) as source:
        frames = list(source.decode(video=0))
    with av.open(str(path), "w") as output:
        options = {"preset": "veryfast", "g": "50", "b": "2500k"}
        stream: Any = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(250):
            frame = frames[(number + 25 * offset) % len(frames)].reformat(1280, 720, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def draw(report: dict[str, dict[str, Any]], path: Path) -> None:
    """Bars: seconds against the limit, and memory."""
    figure = Figure(figsize=(11, 4), layout="tight")
    left, right = figure.subplots(1, 2)
    names = list(report)
    left.barh(names, [report[name]["ratio"] for name in names])
    left.axvline(1.0, color="black", linewidth=1)
    left.set_xlabel("time, in multiples of the limit")
    right.barh(names, [report[name]["peak_mib"] for name in names], color="grey")
    right.set_xlabel("peak memory of all processes, MiB")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
