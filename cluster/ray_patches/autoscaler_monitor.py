"""Ray's autoscaler, told to read its configuration when that has changed, by a clock that never jumps.

It would read the file and validate it against its schema every second, which is most of its CPU time while idle.
"""

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

from ray.autoscaler.v2.instance_manager.config import FileConfigReader

from cluster.steady_clock import install_kept

_read: Callable[[FileConfigReader], Any] = FileConfigReader.refresh_cached_autoscaling_config


def refresh_when_changed(reader: FileConfigReader) -> None:
    """In place of `refresh_cached_autoscaling_config`. The first call reads, whatever was read before."""
    found = os.stat(reader._config_file_path)
    version = (found.st_mtime_ns, found.st_size, found.st_ino)
    if getattr(reader, "read_version", None) != version:
        _read(reader)
        reader.read_version = version


def main() -> None:
    """Run Ray's own script, the first argument, with the others."""
    install_kept()  # before the node provider is imported, which tells Serve deadlines
    FileConfigReader.refresh_cached_autoscaling_config = refresh_when_changed
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
