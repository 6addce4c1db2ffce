"""`python -m tests.benchmarks.backends`: the labels' network by torch and by ONNX Runtime on this CPU, in turn.

ONNX Runtime with several numbers of frames at once: CpuEfficientNetLite0 takes AT_ONCE. CPU time of the process, one
thread each, the best of several rounds: what else the machine does hardly counts.
"""

import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from pipelines.models.efficientnet_lite import DEVIATION, MEAN, load_efficientnet_lite0
from pipelines.models.efficientnet_onnx import AT_ONCE, CpuEfficientNetLite0

_FRAMES, _ROUNDS = 40, 12
_TORCH_AT_ONCE = 8
_TRIED = (1, 2, AT_ONCE, 8, 20, 40)


def main() -> None:
    """Print milliseconds a frame, and the ratio, as JSON."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (_FRAMES, 224, 224, 3), np.uint8)
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - MEAN) / DEVIATION
    network = load_efficientnet_lite0().to(memory_format=torch.channels_last)
    parts = torch.split(x.contiguous(memory_format=torch.channels_last), _TORCH_AT_ONCE)
    networks = {number: CpuEfficientNetLite0(threads=1, at_once=number) for number in _TRIED}
    runs: dict[str, Callable[[], object]] = {"torch": lambda: [network(part) for part in parts]}
    runs |= {f"onnxruntime, {number} at once": partial(fast.logits, pixels) for number, fast in networks.items()}
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for name, run in runs.items():
                started = time.process_time()
                run()
                best[name] = min(best[name], (time.process_time() - started) / _FRAMES * 1000)
    print(json.dumps({"ms_per_frame": best, "times_faster": best["torch"] / best[f"onnxruntime, {AT_ONCE} at once"]}))


if __name__ == "__main__":
    main()
