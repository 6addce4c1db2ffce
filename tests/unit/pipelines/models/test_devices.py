"""Where models run, and with how many threads."""

from collections.abc import Iterator

import pytest

from pipelines.models.devices import pick_device

torch = pytest.importorskip("torch")


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_a_torch_that_was_imported_early_takes_the_threads_that_ray_gives(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads + 1))
    assert pick_device() in ("cpu", "cuda")
    assert torch.get_num_threads() == threads + 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    pick_device()
    assert torch.get_num_threads() == threads + 1
