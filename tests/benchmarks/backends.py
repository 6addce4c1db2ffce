"""`python -m tests.benchmarks.backends`: the labels' network by torch and by ONNX Runtime on this CPU, in turn.

CPU time of the process, one thread each, the best of several rounds: what else the machine does hardly counts.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import torch

from pipelines.analyzers.efficientnet_lite import DEVIATION, MEAN, load_efficientnet_lite0
from pipelines.analyzers.efficientnet_onnx import CpuEfficientNetLite0

_BATCH, _ROUNDS = 8, 12


def main() -> None:
    """Print milliseconds a frame, and the ratio, as JSON."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (_BATCH, 224, 224, 3), np.uint8)
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - MEAN) / DEVIATION
    network = load_efficientnet_lite0().to(memory_format=torch.channels_last)
    tensor = x.contiguous(memory_format=torch.channels_last)
    fast = CpuEfficientNetLite0(threads=1)
    runs: dict[str, Callable[[], object]] = {
        "torch": lambda: network(tensor),
        "onnxruntime": lambda: fast.logits(pixels),
    }
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for name, run in runs.items():
                started = time.process_time()
                run()
                best[name] = min(best[name], (time.process_time() - started) / _BATCH * 1000)
    print(json.dumps({"ms_per_frame": best, "times_faster": best["torch"] / best["onnxruntime"]}))


if __name__ == "__main__":
    main()
