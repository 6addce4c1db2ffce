"""The clouds by name: each file here that defines a class `Provider` is one."""

import importlib
from pathlib import Path
from typing import Any, cast

from autoscaler.clouds.contract import CloudProvider
from autoscaler.errors import UnknownCloud


def load_provider(name: str, **settings: Any) -> CloudProvider:
    """The cloud `name`, made with `settings`. Raises UnknownCloud."""
    if name not in (names := cloud_names()):
        raise UnknownCloud(name, names)
    module = importlib.import_module(f"autoscaler.clouds.{name}")
    return cast("CloudProvider", module.Provider(**settings))


def cloud_names() -> list[str]:
    """The clouds that can be loaded, found without importing any of them."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\nclass Provider" in path.read_text())
