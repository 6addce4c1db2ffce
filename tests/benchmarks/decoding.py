"""What decoding costs: `python -m tests.benchmarks.decoding [--rounds N] [--json]`.

CPU seconds (not wall-clock: comparable on a busy machine) for the same frames of one 720p clip: PyAV in this process,
in a process of its own (what the pipelines do), decord, and NVDEC where this machine has one; sampled and complete.
Rounds of all, one after another.
"""

import argparse
import json
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.media.decoders.contract import FrameRequest, frames_per_batch, load_decoder
from pipelines.media.decoders.nvdec import nvdec_objection
from pipelines.media.isolation import DecodeProcesses
from pipelines.media.sampling import EveryFrame, FramesPerSecond, Keyframes, Sampling, Segment
from tests.benchmarks.video import make_clips

CASES: dict[str, tuple[Sampling, int]] = {
    "1 fps, 224 px": (FramesPerSecond(1), 224),
    "2 fps, 224 px": (FramesPerSecond(2), 224),
    "keyframes, 224 px": (Keyframes(), 224),
    "every frame, 224 px": (EveryFrame(), 224),
    "every frame, 640 px": (EveryFrame(), 640),
}


def main() -> None:
    """Print the median CPU seconds of each way, and what isolation costs in the same round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        (clip,) = make_clips(Path(folder), 1)
        for case, (sampling, side) in CASES.items():
            report[case] = _compared(str(clip), sampling, (side, side), options.rounds)
            print(case, {name: round(value, 3) for name, value in report[case].items()}, flush=True)
    if options.json:
        print(json.dumps(report))


def _compared(clip: str, sampling: Sampling, size: tuple[int, int], rounds: int) -> dict[str, float]:
    requests = [FrameRequest(Segment(0, 0.0, 10.0, last=True), sampling, size)]
    batch = frames_per_batch(size)
    processes = DecodeProcesses()
    processes.warm_up(1)
    ways: dict[str, Callable[[], Any]] = {
        "pyav": lambda: load_decoder("pyav").read(clip, requests, batch),
        "isolated": lambda: processes.read("pyav", clip, requests, batch),
        "decord": lambda: load_decoder("decord").read(clip, requests, batch),
    }
    if not nvdec_objection():
        ways["nvdec"] = lambda: load_decoder("nvdec").read(clip, requests, batch)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    child = next(iter(processes._idle)).process.pid
    for _ in range(rounds + 1):  # the first warms up
        for name, way in ways.items():
            before = _cpu_s(child)
            pixels = sum(int(frames.pixels[:, ::64, ::64].sum()) for _, frames in way())
            assert pixels
            spent[name].append(_cpu_s(child) - before)
    medians = {name: statistics.median(values[1:]) for name, values in spent.items()}
    pairs = zip(spent["isolated"][1:], spent["pyav"][1:], strict=True)
    return medians | {"isolated / pyav": statistics.median(a / b for a, b in pairs)}


def _cpu_s(child: int) -> float:
    """CPU seconds of this process and the decoding one so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    user, system = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
    return own.ru_utime + own.ru_stime + (int(user) + int(system)) / 100


if __name__ == "__main__":
    main()
