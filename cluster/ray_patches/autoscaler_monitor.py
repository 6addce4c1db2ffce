"""Ray's autoscaler, run with the patches of its process.

`python -m cluster.ray_patches.autoscaler_monitor SCRIPT ...` runs Ray's own script with its arguments.
"""

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

from cluster.ray_patches.decision import apply_at
from cluster.ray_patches.patch import Place


def read_when_changed() -> None:
    """The autoscaler reads its configuration when the file has changed.

    It would read it and validate it against its schema every second, which is most of its CPU time while idle.
    """
    from ray.autoscaler.v2.instance_manager.config import FileConfigReader  # noqa: PLC0415 - where it is patched only

    read = FileConfigReader.refresh_cached_autoscaling_config
    FileConfigReader.refresh_cached_autoscaling_config = reading_when_changed(read)


def reading_when_changed(read: Callable[[Any], Any]) -> Callable[[Any], None]:
    """In place of `refresh_cached_autoscaling_config`. The first call reads, whatever was read before."""

    def refresh(reader: Any) -> None:
        found = os.stat(reader._config_file_path)
        version = (found.st_mtime_ns, found.st_size, found.st_ino)
        if getattr(reader, "read_version", None) != version:
            read(reader)
            reader.read_version = version

    return refresh


def main() -> None:
    """Run Ray's own script, the first argument, with the others."""
    apply_at(Place.AUTOSCALER)  # before the node provider is imported, which tells Serve deadlines
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
