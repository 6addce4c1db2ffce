"""The only reader of aima.yaml and of AIMA_* environment variables; everything else is given frozen settings."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from cluster.config.schema import Settings

_ENVIRONMENT_PREFIX = "AIMA_"
_STATE_DIR = re.compile(r"^state_dir:[ \t]*(?P<path>\S+)", re.MULTILINE)
# Named AIMA_* as well, but addressed to one process or one worker, not settings.
_NOT_SETTINGS = {
    "AIMA_APPLIED_PATCHES",
    "AIMA_AROUND_DATASETS",
    "AIMA_CLOCK",
    "AIMA_CLUSTER",
    "AIMA_CONFIG",
    "AIMA_HUB",
    "AIMA_HUB_KEY",
    "AIMA_INSTANCE",
    "AIMA_JOIN_TIMEOUT_S",
    "AIMA_JOIN_TOKEN",
    "AIMA_MAX_AGE_S",
    "AIMA_ORCHESTRATOR_URL",
    "AIMA_PHASES",
    "AIMA_PRESTARTED_WORKERS",
}


class ConfigError(ValueError):
    """A setting is unknown or has a wrong value; the message says where and what is allowed."""


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read `path` (or AIMA_CONFIG, or ./aima.yaml where it exists), then AIMA_SECTION__KEY overrides.

    Raises ConfigError naming the file and line, or the variable, and the allowed values.
    """
    environment = os.environ if environment is None else environment
    path = path or _default_path(environment)
    text = _read(path) if path else ""
    document = _parse(text, path)
    sources = _overlay_environment(document, environment)
    try:
        return Settings.model_validate(document).resolved()
    except ValidationError as error:
        raise ConfigError(_explain(error, text, path, sources)) from None


def state_dir_of(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Where the cluster's state lies, also when its settings cannot be read: whoever ends machines must find them."""
    environment = os.environ if environment is None else environment
    path = path or _default_path(environment)
    try:
        written = _STATE_DIR.search(path.read_text(encoding="utf-8", errors="replace")) if path else None
    except OSError:
        written = None
    named = environment.get("AIMA_STATE_DIR") or (written["path"].strip("'\"") if written else "")
    return Path(named or Settings().state_dir).expanduser().resolve()


def _default_path(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get("AIMA_CONFIG"):
        return Path(named)
    here = Path("aima.yaml")
    return here if here.exists() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _parse(text: str, path: Path | None) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: line 1: expected `key: value` lines, got {type(document).__name__}")
    return document


def _overlay_environment(document: dict[str, Any], environment: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Put AIMA_HTTP__PORT=9000 at http.port; returns which variable set which key."""
    sources = {}
    for variable, value in environment.items():
        if not variable.startswith(_ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        keys = tuple(variable.removeprefix(_ENVIRONMENT_PREFIX).lower().split("__"))
        section = document
        for key in keys[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{variable}: `{key}` is not a section")
        section[keys[-1]] = yaml.safe_load(value)
        sources[keys] = variable
    return sources


def _explain(error: ValidationError, text: str, path: Path | None, sources: Mapping[tuple[str, ...], str]) -> str:
    lines = []
    for problem in error.errors():
        keys = tuple(str(key) for key in problem["loc"])
        if not keys:  # a rule that concerns several settings names them itself
            lines.append(f"{path or 'settings'}: {problem['msg'].removeprefix('Value error, ')}")
            continue
        where = sources.get(keys) or f"{path}: line {_line_of(keys, text)}"
        lines.append(f"{where}: {'.'.join(keys)} = {problem['input']!r}: {_way_out(keys, problem)}")
    return "\n".join(lines)


def _way_out(keys: tuple[str, ...], problem: Any) -> str:
    if problem["type"] != "extra_forbidden":
        return str(problem["msg"])
    model: Any = Settings
    for key in keys[:-1]:
        is_section = isinstance(model, type) and issubclass(model, BaseModel)
        # Of a mapping, the key is a name and the section stands in its values.
        model = model.model_fields[key].annotation if is_section else get_args(model)[-1]
    return f"unknown key; allowed here: {', '.join(sorted(model.model_fields))}"


def _line_of(keys: tuple[str, ...], text: str) -> int:
    """The line of the deepest of `keys` that stands in the document (1 when none does)."""
    node, line = yaml.compose(text) if text else None, 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if k.value == key]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
        else:
            break
    return line
