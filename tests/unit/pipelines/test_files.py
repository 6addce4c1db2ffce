"""Files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.files import filesystem_of, write_atomically


def _failing() -> Iterator[bytes]:
    yield b"half"
    raise OSError("the source broke off")


def test_a_file_is_written_with_its_folders_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, [b"all ", b"of it"], mode=0o600)
    assert path.read_bytes() == b"all of it"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, [b"old"])
    with pytest.raises(OSError, match="broke off"):
        write_atomically(path, _failing())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_sees_a_private_file_before_it_is_private(tmp_path: Path) -> None:
    modes: list[int] = []

    def pieces() -> Iterator[bytes]:
        modes.extend(entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir())
        yield b"secret"

    write_atomically(tmp_path / "key", pieces(), mode=0o600)
    assert modes == [0o600]


def test_it_reaches_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first, then the new name: after a power cut there is the old file or the new one, never an empty one."""
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        steps.append("folder synced" if os.path.isdir(f"/proc/self/fd/{handle}") else "file synced")
        sync(handle)

    def replaced(source: str, target: Path) -> None:
        steps.append("replaced")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomically(tmp_path / "file", [b"new"])
    assert steps == ["file synced", "replaced", "folder synced"]


def test_a_path_and_an_address_name_the_same_place(tmp_path: Path) -> None:
    filesystem, path = filesystem_of(f"file://{tmp_path}/results/")
    assert filesystem == filesystem_of(str(tmp_path))[0]
    assert path == filesystem_of(f"{tmp_path}/results")[1] == f"{tmp_path}/results"
