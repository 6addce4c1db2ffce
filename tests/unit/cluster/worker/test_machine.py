"""What a worker finds out about its machine."""

from pathlib import Path

import pytest

from cluster.worker import preflight


def test_memory_follows_the_containers_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("3221225472\n")
    assert preflight.memory_limit_bytes(tmp_path) == 3 * 1024**3
    store, tasks = preflight.memory_flags(512 * 1024**2, tmp_path, shared=str(tmp_path))
    assert store == f"--object-store-memory={512 * 1024**2}"
    assert tasks == f"--memory={int(2.5 * 1024**3 * 0.8)}"


def test_an_old_cgroup_is_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1073741824")
    assert preflight.memory_limit_bytes(tmp_path) == 1024**3


@pytest.mark.parametrize("text", ["max", "9223372036854771712"])
def test_without_a_limit_it_is_the_machines_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.max").write_text(text)
    assert preflight.memory_limit_bytes(tmp_path) == preflight.memory_limit_bytes(tmp_path / "nothing")


def test_a_machine_whose_driver_fails_is_unfit_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_MIN_FREE_DISK_BYTES", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "does not answer" in preflight.unfit(gpus=1)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch' >&2\nexit 18\n")
    tool.chmod(0o755)
    assert "Driver/library version mismatch" in preflight.unfit(gpus=1)
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 570.1'\n")
    assert preflight.unfit(gpus=1) == ""
    assert preflight.unfit(gpus=0) == ""


@pytest.mark.parametrize(
    ("said", "gpus", "why"),
    [
        ("NVIDIA L4, 570.1", 2, "1 of its 2 GPUs work"),
        ("NVIDIA L4, 570.1\n[GPU is lost], [GPU is lost]", 2, "1 of its 2 GPUs work: [GPU is lost]"),
        ("NVIDIA L4, 570.1\nNVIDIA L4, [Unknown Error]", 2, "1 of its 2 GPUs work: NVIDIA L4, [Unknown Error]"),
        (
            "Unable to determine the device handle for GPU 0000:02:00.0: Unknown Error\nNVIDIA L4, 570.1",
            2,
            "1 of its 2",
        ),
        ("NVIDIA L4, 570.1\nNVIDIA L4, 570.1", 2, ""),
        ("NVIDIA L4, 570.1\nNVIDIA L4, 570.1", 1, ""),
    ],
)
def test_a_machine_with_a_dead_gpu_is_unfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, gpus: int, why: str
) -> None:
    monkeypatch.setattr(preflight, "_MIN_FREE_DISK_BYTES", 0)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    tool.chmod(0o755)
    assert preflight.unfit(gpus).startswith(why)
    assert bool(preflight.unfit(gpus)) is bool(why)


def test_a_full_disk_is_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_MIN_FREE_DISK_BYTES", 10**18)
    assert "GiB of disk are free" in preflight.unfit(gpus=0)
