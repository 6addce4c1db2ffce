"""A Python environment with the packages of an always-on head only, as its image has them.

A developer's environment also has what workers and tests need. Serve imports pandas wherever it is installed, for
instance, which is 26 MiB in each of its processes; the head's image has no pandas.
"""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath

from packaging.requirements import Requirement

_HEAD = "aima-media[head]"
_CHECKOUT = Path(__file__).parents[2]


def packages(requirement: str) -> set[str]:
    """The names of the installed distributions that it needs, itself among them."""
    found, left = set[tuple[str, str]](), [(Requirement(requirement).name, extra) for extra in _extras(requirement)]
    while left:
        name, extra = left.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                left += [(needed.name, wanted) for wanted in _extras(text)]
    return {name for name, _extra in found}


def _extras(requirement: str) -> list[str]:
    return ["", *Requirement(requirement).extras]


def run(module: str, arguments: Sequence[str]) -> int:
    """`python -m module arguments` from this checkout, in such an environment; its exit code."""
    with tempfile.TemporaryDirectory() as directory:
        python = make(Path(directory))
        environment = os.environ | {"PYTHONPATH": str(_CHECKOUT)}
        return subprocess.run([python, "-m", module, *arguments], env=environment, check=False).returncode


def make(directory: Path, requirement: str = _HEAD) -> Path:
    """Make the environment of symbolic links to the installed packages; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(directory), "platbase": str(directory)}))
    installed = Path(sysconfig.get_path("purelib"))
    for name in packages(requirement):
        files: Sequence[PurePath] = importlib.metadata.distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(installed / top)
    return directory / "bin" / "python"
