"""What every process logs: one JSON object a line, or text for people, with what it is about, and without secrets.

Each line has the time (UTC), its level, the process's kind and pid, the module, the message, and those of FACTS that
are known where it is written. Facts are set by `about` for all that happens inside, tasks and `asyncio.to_thread`
included, or given with one line: `log.info(..., extra={"instance": name})`.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pipelines.redaction import secrets_of, without_secrets

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]
FACTS = ("analysis", "segment", "instance", "cloud", "trace")
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
# They tell each request and connection.
_TALKATIVE = ("asyncio", "asyncssh", "botocore", "httpcore", "httpx", "kombu", "pymongo", "urllib3", "uvicorn")


@contextlib.contextmanager
def about(**facts: str) -> Iterator[None]:
    """Everything that is logged inside is about these of FACTS."""
    token = _about.set({**_about.get(), **facts})
    try:
        yield
    finally:
        _about.reset(token)


def facts() -> Mapping[str, str]:
    """What is logged now is about these."""
    return _about.get()


class Formatter(logging.Formatter):
    """A record as one line (JSON), or as lines for people."""

    def __init__(self, process: str, form: Format, known_secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._process, self._form, self._known = process, form, tuple(known_secrets)

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        given = {name: getattr(record, name) for name in FACTS if hasattr(record, name)}
        line |= {name: self._clean(str(value)) for name, value in {**_about.get(), **given}.items()}
        if record.exc_info:
            line["error"] = self._clean(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False) if self._form == "json" else _for_people(line)

    def _clean(self, text: str) -> str:
        return without_secrets(text, self._known)


def _for_people(line: Mapping[str, Any]) -> str:
    known = " ".join(f"{name}={_one_line(str(line[name]))}" for name in FACTS if name in line)
    said = f"{line['time']} {line['level']:7} {line['process']} {line['logger']}: {_one_line(line['message'])}"
    return said + (f"  [{known}]" if known else "") + (f"\n{line['error']}" if "error" in line else "")


def _one_line(text: str) -> str:
    """Strangers choose parts of what is logged: what would forge a line or steer a terminal is shown as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def configure(
    process: str,
    form: Format = "text",
    level: Level = "info",
    path: Path | None = None,
    known_secrets: Iterable[str] | None = None,
) -> None:
    """Everything that this process logs goes to `path`, or standard error, from `level` on.

    `process` is its kind, such as "orchestrator". Unless `known_secrets` are given, the environment's are hidden.
    """
    handler = _Errors() if path is None else _opened(path)
    known = secrets_of(os.environ) if known_secrets is None else known_secrets
    handler.setFormatter(Formatter(process, form, known))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, Formatter):  # ours; others' handlers stay theirs
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Errors(logging.Handler):
    """Standard error as it is at the moment of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # as logging's own handlers do: no line is worth the work
            self.handleError(record)


def _opened(path: Path) -> logging.Handler:
    try:
        return logging.FileHandler(path, encoding="utf-8")
    except OSError:  # a full disk or a lost volume must not keep the process from its work
        return _Errors()
