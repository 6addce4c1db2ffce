"""Imported first by every worker of Ray on the head, Serve's controller, proxy and replicas there among them.

Their time never jumps, and Serve does without pandas. It imports that for one thing, to write a DataFrame that a
deployment returns as JSON, and with it 33 MiB into each of its processes. Whoever else imports pandas on the head, a
job's driver or a task, gets it as ever.
"""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

from cluster.steady_clock import install_kept

_ASKING, _SPARED = "ray.serve._private.utils", "pandas"


class _Spare(importlib.abc.MetaPathFinder):
    """Says to one module that another is not installed: it is written to do without."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _SPARED and _importer(sys._getframe(1)) == _ASKING:
            raise ModuleNotFoundError(f"{_ASKING} does without {_SPARED} on the head", name=_SPARED)
        return None


def _importer(frame: FrameType | None) -> str:
    """The module whose import statement is being carried out, seen from inside the import machinery."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def spare_serve() -> None:
    """From here on. Harmless to repeat."""
    if not any(isinstance(finder, _Spare) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Spare())


install_kept()
spare_serve()
