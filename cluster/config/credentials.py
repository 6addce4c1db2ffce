"""Where the clouds' API keys come from: their own environment variables, else what their own tools have stored.

The vendor's package `runpod` need not be imported for that: what it stores is one line of TOML.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from autoscaler.errors import KeyRefused

_RUNPOD_FILE = Path(".runpod/config.toml")
_VASTAI_FILES = (Path(".config/vastai/vast_api_key"), Path(".vast_api_key"))


def runpod_key(environment: Mapping[str, str], home: Path) -> str:
    """RUNPOD_API_KEY, or the default profile of `runpod config`. Raises KeyRefused naming both."""
    if key := environment.get("RUNPOD_API_KEY"):
        return key
    path = home / _RUNPOD_FILE
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8")).get("default", {}).get("api_key", "")
    except (OSError, tomllib.TOMLDecodeError, AttributeError):
        stored = ""
    if isinstance(stored, str) and stored:
        return stored
    raise KeyRefused(f"RunPod needs an API key: set RUNPOD_API_KEY, or run `runpod config`, which keeps it in {path}")


def vastai_key(environment: Mapping[str, str], home: Path) -> str:
    """VAST_API_KEY, or what `vastai set api-key` has stored. Raises KeyRefused naming both."""
    if key := environment.get("VAST_API_KEY"):
        return key
    for path in (home / name for name in _VASTAI_FILES):
        if path.is_file() and (stored := path.read_text(encoding="utf-8").strip()):
            return stored
    path = home / _VASTAI_FILES[0]
    raise KeyRefused(
        f"Vast.ai needs an API key: set VAST_API_KEY, or run `vastai set api-key`, which keeps it in {path}"
    )
