"""Frames of many callers share batches, in order, and running out of memory only makes batches smaller."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.models.batching import OutOfMemory, SharedModel, is_out_of_memory
from tests.waiting import wait_until


def frames(*numbers: int, size: int = 2) -> NDArray[np.uint8]:
    return np.array(numbers, np.uint8)[:, None, None, None].repeat(size, 1).repeat(size, 2).repeat(3, 3)


def shown(pixels: NDArray[np.uint8]) -> list[int]:
    return [int(n) for n in pixels[:, 0, 0, 0]]


def test_callers_that_wait_share_a_batch_and_get_their_own_rows() -> None:
    calls: list[list[int]] = []
    entered, go_on = threading.Event(), threading.Event()

    def model(pixels: NDArray[np.uint8]) -> Sequence[int]:
        calls.append(shown(pixels))
        entered.set()
        assert go_on.wait(30)
        return shown(pixels)

    shared = SharedModel(model, limit=6)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(shared, frames(1))
        assert entered.wait(30)
        others = [pool.submit(shared, frames(10 * n, 10 * n + 1, size=2 + n // 4)) for n in range(1, 5)]
        wait_until("all others wait", lambda: len(shared._waiting) == 4, every_s=0.01)
        go_on.set()
        assert first.result(30) == [1]
        assert [other.result(30) for other in others] == [[10 * n, 10 * n + 1] for n in range(1, 5)]
    # Two by two of one size together, up to six frames; the fourth is of another size.
    assert sorted(map(len, calls)) == [1, 2, 6]


def test_more_frames_than_the_limit_go_in_parts() -> None:
    calls: list[int] = []

    def model(pixels: NDArray[np.uint8]) -> Sequence[int]:
        calls.append(len(pixels))
        return shown(pixels)

    assert SharedModel(model, limit=4)(frames(*range(10))) == list(range(10))
    assert calls == [4, 4, 2]


def test_an_error_of_the_model_is_its_callers_only() -> None:
    def model(pixels: NDArray[np.uint8]) -> Sequence[int]:
        if pixels[0, 0, 0, 0] == 7:
            raise ValueError("seven")
        return shown(pixels)

    shared = SharedModel(model)
    with pytest.raises(ValueError, match="seven"):
        shared(frames(7))
    assert shared(frames(8)) == [8]


def test_a_model_that_gains_nothing_from_larger_batches_takes_its_callers_side_by_side() -> None:
    both = threading.Barrier(2, timeout=30)
    calls: list[int] = []

    def model(pixels: NDArray[np.uint8]) -> Sequence[int]:
        both.wait()  # passed only when two are in the model
        calls.append(len(pixels))
        return shown(pixels)

    shared = SharedModel(model)
    shared.together = False
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(shared, [frames(1, 2), frames(3)])) == [[1, 2], [3]]
    assert sorted(calls) == [1, 2]


def test_a_single_frame_that_does_not_fit_is_an_error() -> None:
    def model(pixels: NDArray[np.uint8]) -> Sequence[int]:
        raise MemoryError(f"{len(pixels)} frames")

    with pytest.raises(OutOfMemory, match="not even one frame fits: 1 frames"):
        SharedModel(model)(frames(*range(8)))


# A real network that really runs out of memory: torch's own allocator refuses, in a process with a limit.
_STARVED = """
import resource
import numpy as np, torch
from pipelines.models.batching import SharedModel
torch.set_num_threads(1)
conv = torch.nn.Conv2d(3, 64, 3, padding=1).eval()
def model(pixels):
    with torch.inference_mode():
        return conv(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).mean((1, 2, 3)).tolist()
frames = np.random.default_rng(0).integers(0, 256, (32, 256, 256, 3), np.uint8)
expected = [row for i in range(32) for row in model(frames[i : i + 1])]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (250 << 20),) * 2)
shared = SharedModel(model, limit=32)
assert np.allclose(shared(frames), expected, atol=1e-3)
assert shared.limit in (4, 8), shared.limit
limit = shared.limit
assert np.allclose(shared(frames), expected, atol=1e-3)
assert shared.limit == limit
print("halved")
"""


def test_running_out_of_memory_halves_the_batch_for_good() -> None:
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", _STARVED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "halved", done.stderr


def test_which_errors_mean_memory() -> None:
    torch: Any = pytest.importorskip("torch")
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"))
    assert is_out_of_memory(RuntimeError("Non-zero status code: Failed to allocate memory for requested buffer"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
