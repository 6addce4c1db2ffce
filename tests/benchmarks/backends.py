"""`python -m tests.benchmarks.backends`: the labels' network by torch and by ONNX Runtime on this CPU, in turn.

CPU time of the process, one thread each, the best of several rounds: what else the machine does hardly counts.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import torch

from pipelines.analyzers.efficientnet_lite import load_efficientnet_lite0
from pipelines.analyzers.efficientnet_onnx import CpuEfficientNetLite0

_BATCH, _ROUNDS = 8, 12


def main() -> None:
    """Print milliseconds a frame, and the ratio, as JSON."""
    torch.set_num_threads(1)
    x = np.random.default_rng(0).uniform(-1, 1, (_BATCH, 3, 224, 224)).astype(np.float32)
    network = load_efficientnet_lite0().to(memory_format=torch.channels_last)
    tensor = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    fast = CpuEfficientNetLite0(threads=1)
    runs: dict[str, Callable[[], object]] = {"torch": lambda: network(tensor), "onnxruntime": lambda: fast.logits(x)}
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
