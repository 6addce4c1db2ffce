"""The wall clocks of the machines of a run: the head's, and each rented machine's."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.chaos.servers import wrong_clock


class Clocks:
    """A folder on the path of every process that is started while it is `worn`, in which each finds its clock."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._offsets = folder, folder / "offsets"
        self._offsets.mkdir(parents=True)
        shutil.copy(wrong_clock.__file__, folder / "sitecustomize.py")

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        """By what this process starts from here on."""
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(self._folder), *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before

    @contextlib.contextmanager
    def off(self, machine: str, offset_s: float) -> Iterator[int]:
        """The machine's clock jumps, and is set right when the block ends; gives how many processes read it."""
        path = self._offsets / machine
        wrong_clock.put(path, offset_s)
        try:
            yield sum(_reads(process.pid, path) for process in psutil.process_iter())
        finally:
            wrong_clock.put(path, 0.0)


def _reads(pid: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return f" {path}\n" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    return False
