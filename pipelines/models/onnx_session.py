"""ONNX Runtime sessions that live well beside other models in one process."""

import os
from pathlib import Path
from typing import Any

_MOST_THREADS = 4


def open_session(model: Path | bytes, device: str, threads: int | None = None) -> Any:
    """An onnxruntime.InferenceSession: on CUDA if `device` says so and the installed runtime can, else on the CPU.

    Its threads do not spin while they wait: several models share the cores.
    """
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or threads_per_model()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    providers = [p for p in wanted if p in onnxruntime.get_available_providers()]
    return onnxruntime.InferenceSession(source, options, providers=[*providers, "CPUExecutionProvider"])


def threads_per_model() -> int:
    """How many threads one model may use: the cores this process may run on, and no more than four."""
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)
