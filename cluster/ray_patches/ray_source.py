"""The installed Ray as files. They are read, not imported: looking costs milliseconds, and cannot fail a start."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# Not variables of Ray: they tell our own code in Ray's processes something.
_OURS = "AIMA_"


class RaySource:
    """Ray's package directory. `proved_builds`: commits whose programs are known to have the settings we use."""

    def __init__(self, root: Path, proved_builds: Sequence[str] = ()) -> None:
        self.root, self._proved_builds = root, proved_builds
        self.text = cache(self._text)

    @property
    def version(self) -> str:
        """Such as "2.60.0"; "" if it cannot be read."""
        return self._constant("version")

    @property
    def release(self) -> str:
        """Such as "2.60"."""
        return ".".join(self.version.split(".")[:2])

    def _constant(self, name: str) -> str:
        found = re.search(rf'^{name} = "([^"]*)"', self.text("_version.py"), re.MULTILINE)
        return found[1] if found else ""

    def _text(self, file: str) -> str:
        """A file's text; "" if it is missing."""
        try:
            return (self.root / file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def unknown(self, variables: Sequence[str], files: Sequence[str]) -> list[str]:
        """Those of these environment variables that none of the files names.

        A program is searched only where its build was not proved: that takes a tenth of a second, which each start of
        a worker would wait for.
        """
        left = [name for name in variables if not name.startswith(_OURS)]
        for file in files:
            if file.endswith(".py"):
                left = [name for name in left if not re.search(rf"\b{name}\b", self.text(file))]
            elif left and self._constant("commit") in self._proved_builds:
                return []
            elif left:
                content = self._bytes(file)
                left = [name for name in left if not _in_program(name, content)]
        return left

    def _bytes(self, file: str) -> bytes:
        try:
            return (self.root / file).read_bytes()
        except OSError:
            return b""

    def definition(self, file: str, name: str) -> str:
        """The source of a function or class, such as "Class.method", without blank lines; "" if there is none."""
        lines = self.text(file).splitlines()
        for part in name.split("."):
            lines = _block(lines, part)
        return "\n".join(line.rstrip() for line in lines if line.strip())

    def digest(self, file: str, name: str) -> str:
        """A short digest of that source; "" if there is none."""
        source = self.definition(file, name)
        return hashlib.sha256(source.encode()).hexdigest()[:12] if source else ""


def _in_program(variable: str, content: bytes) -> bool:
    """Ray's core reads `RAY_` and the name of the setting, which may be the beginning of another's name."""
    name, at = variable.removeprefix("RAY_").encode(), -1
    while (at := content.find(name, at + 1)) >= 0:
        around = content[max(0, at - 1) : at] + content[at + len(name) : at + len(name) + 1]
        if not re.search(rb"\w", around):
            return True
    return False


def _block(lines: Sequence[str], name: str) -> list[str]:
    """The lines of the first `def` or `class` of that name."""
    begins = re.compile(rf"\s*(async def|def|class) {re.escape(name)}\b")
    start = next((at for at, line in enumerate(lines) if begins.match(line)), None)
    if start is None:
        return []
    indent = len(lines[start]) - len(lines[start].lstrip())
    block = [lines[start]]
    for line in lines[start + 1 :]:
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth <= indent and not line.lstrip().startswith(")"):
            break
        block.append(line)
    return block


@cache
def installed(proved_builds: tuple[str, ...] = ()) -> RaySource:
    """The Ray that this Python would import."""
    found = importlib.util.find_spec("ray")
    places = (found.submodule_search_locations or ()) if found else ()
    return RaySource(Path(next(iter(places), os.devnull)), proved_builds)
