"""The clouds by name: each file or folder here that defines a class `Provider` is one. And where their APIs are."""

import importlib
import re
from pathlib import Path
from typing import Any, cast

from autoscaler.clouds.contract import CloudProvider
from autoscaler.errors import CloudError, UnknownCloud

# The root of each API, and the endings that people write behind it or leave out.
_API_ROOTS = {
    "runpod": ("https://api.runpod.io", ("/v2",)),
    "vastai": ("https://console.vast.ai/api", ("/v0", "/v1")),
}
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*", re.IGNORECASE)


def load_provider(name: str, **settings: Any) -> CloudProvider:
    """The cloud `name`, made with `settings`. Raises UnknownCloud."""
    if name not in (modules := _modules()):
        raise UnknownCloud(name, modules)
    module = importlib.import_module(f"autoscaler.clouds.{modules[name]}")
    return cast("CloudProvider", module.Provider(**settings))


def cloud_names() -> list[str]:
    """The clouds that can be loaded, found without importing any of them."""
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """The module of each cloud, below this folder: its file, or `provider` in its folder."""
    here = Path(__file__).parent
    files = {path.stem: path.stem for path in here.glob("*.py") if "\nclass Provider" in path.read_text()}
    return files | {path.parent.name: f"{path.parent.name}.provider" for path in here.glob("*/provider.py")}


def api_root(cloud: str, given: str = "") -> str:
    """The root to which a cloud's paths are added; `given` is what a person wrote, "" for the cloud's own.

    It may end with slashes, with the version of the API or, at Vast.ai, with or without /api. Raises CloudError.
    """
    own, versions = _API_ROOTS[cloud]
    root = given.strip().rstrip("/") or own
    if not _URL.fullmatch(root):
        raise CloudError(f"the address of {cloud}'s API is {given!r}: write a URL such as {own}")
    for version in versions:
        root = root.removesuffix(version).rstrip("/")
    path = own.partition("://")[2].partition("/")[2]
    return f"{root}/{path}" if path and not root.endswith(f"/{path}") else root
