"""A Ray in a folder: what the registry looks at of the installed one, to be changed."""

import re
from collections.abc import Sequence
from pathlib import Path

from cluster.ray_patches.decision import ALL
from cluster.ray_patches.patch import Patch
from cluster.ray_patches.ray_source import RaySource, installed

VERSION = "_version.py"


def files_of(patch: Patch) -> set[str]:
    """Every file of Ray that the patch looks at."""
    return {*patch.read_by, *(check.file for check in patch.checks)}


class MovedRay:
    """A copy of another build. Its programs hold the names of their settings, and nothing else."""

    def __init__(self, root: Path, patches: Sequence[Patch] = ALL) -> None:
        self.root = root
        for file in {VERSION, *(file for patch in patches for file in files_of(patch))}:
            if file.endswith(".py"):
                content = installed().text(file)
            else:
                read = [patch.variables for patch in patches if file in patch.read_by]
                content = "\0".join(name.removeprefix("RAY_") for variables in read for name in variables)
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(content, encoding="utf-8")
        self.replace(VERSION, installed()._constant("commit"), "another")

    def replace(self, file: str, old: str, new: str) -> None:
        """Change a file, which must contain `old`."""
        text = (self.root / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        (self.root / file).write_text(text.replace(old, new), encoding="utf-8")

    def rename(self, file: str, name: str) -> None:
        """Whatever is called so in the file is called otherwise."""
        text = (self.root / file).read_text(encoding="utf-8")
        (self.root / file).write_text(re.sub(rf"\b(RAY_)?{re.escape(name)}\b", "renamed", text), encoding="utf-8")

    def remove(self, file: str) -> None:
        """Remove a file."""
        (self.root / file).unlink()

    def source(self) -> RaySource:
        """As the registry sees it now."""
        return RaySource(self.root)
