"""The clouds, one file each, loaded by name."""

import importlib
import pkgutil
from typing import Any, cast

from autoscaler.errors import UnknownCloud
from autoscaler.provider import CloudProvider


def load_provider(name: str, **settings: Any) -> CloudProvider:
    """The cloud `name`, made with `settings`. Raises UnknownCloud."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in names:
        raise UnknownCloud(name, names)
    module = importlib.import_module(f"{__name__}.{name}")
    return cast("CloudProvider", module.Provider(**settings))
