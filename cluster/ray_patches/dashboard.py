"""Ray's dashboard, told to ask its modules rarely how they are, and to leave nothing behind.

It would ask each over HTTP every second, which is all that it and they do while idle. That a module's process has ended
is still seen within a second. What it needs on disk lies in Ray's own directory, which goes with the cluster: told to
end, it would leave a directory of its own each time.
"""

import runpy
import sys
import tempfile
from collections.abc import Awaitable, Callable

from ray.dashboard.subprocesses.handle import SubprocessModuleHandle

_ASK_EVERY = 30
_RAY_DIR = "--temp-dir="
_ask: Callable[[SubprocessModuleHandle], Awaitable[None]] = SubprocessModuleHandle._do_once_health_check


async def look(handle: SubprocessModuleHandle) -> None:
    """In place of `_do_once_health_check`, once a second. Raises as that does for a module that is not well."""
    handle.looks = getattr(handle, "looks", -1) + 1
    if handle.process.exitcode is not None or handle.looks % _ASK_EVERY == 0:
        await _ask(handle)


def main() -> None:
    """Run Ray's own script, the first argument, with the others."""
    SubprocessModuleHandle._do_once_health_check = look
    del sys.argv[0]
    tempfile.tempdir = next((word.removeprefix(_RAY_DIR) for word in sys.argv if word.startswith(_RAY_DIR)), None)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
