"""What can go wrong with media and analyzers.

Exception
├── MediaError        a file cannot be read, or not to its end
│   ├── MediaUnavailable   not for now: its server is busy, out of reach, or broke off
│   ├── NoVideo       a file has no video stream; it may have sound
│   └── NoAudio       a file has no audio stream
├── Unavailable       (an OSError) what MediaUnavailable comes of, while a file is read
├── UnknownAnalyzer   (a ValueError) no analyzer has that name
├── InvalidOption     (a ValueError) an analyzer does not take this option, or not with this value
└── MissingPackage    (an ImportError) what an analyzer is made of is not installed here
"""

from collections.abc import Iterable
from typing import Any

from pipelines.media.addresses import last_name, shown


class MediaError(Exception):
    """One media file is missing, unreadable or damaged.

    `uri` is the file, `cause` says what is wrong, `time_s` is where (seconds from the first frame; None when the
    whole file is meant). It survives pickling: it crosses processes and machines.
    """

    def __init__(self, uri: str, cause: str, time_s: float | None = None) -> None:
        super().__init__(uri, cause, time_s)
        self.uri = uri
        self.cause = cause
        self.time_s = time_s

    def __str__(self) -> str:
        where = "" if self.time_s is None else f" (at {self.time_s:.3f} s)"
        return f"{file_name(self.uri)}: {self.cause}{where}"


class MediaUnavailable(MediaError):
    """The file cannot be had for now; the same may succeed later."""


class NoVideo(MediaError):
    """The file has no video stream (a cover is none)."""


class NoAudio(MediaError):
    """The file has no audio stream."""


class Unavailable(OSError):
    """A server is busy, out of reach, or broke off, also when it was asked again."""


class UnknownAnalyzer(ValueError):
    """No analyzer has this name; the message lists the names that exist, and says why a "module:Class" is none."""

    def __init__(self, name: str, allowed: Iterable[str], reason: str = "") -> None:
        self.name = name
        self.allowed = tuple(allowed)
        self.reason = reason
        super().__init__(name, self.allowed, reason)

    def __str__(self) -> str:
        because = f" ({self.reason})" if self.reason else ""
        return f"unknown analyzer {self.name!r}{because}; choose from: {', '.join(self.allowed)}"


class InvalidOption(ValueError):
    """An option of an analyzer is unknown or has a value that is not allowed; `reason` says what is."""

    def __init__(self, analyzer: str, option: str, value: Any, reason: str) -> None:
        super().__init__(analyzer, option, value, reason)
        self.analyzer = analyzer
        self.option = option
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.analyzer}.{self.option} = {self.value!r}: {self.reason}"


class MissingPackage(ImportError):
    """An analyzer's package is not installed; the message names the extra that brings it."""

    def __init__(self, analyzer: str, package: str, extra: str) -> None:
        super().__init__(analyzer, package, extra)
        self.analyzer = analyzer
        self.package = package
        self.extra = extra

    def __str__(self) -> str:
        return f"analyzer {self.analyzer!r} needs {self.package}: pip install 'aima-media[{self.extra}]'"


def unreadable(uri: str, cause: str, error: BaseException) -> MediaError:
    """What an error of reading this file is to those who wanted it."""
    return (MediaUnavailable if isinstance(error, Unavailable) else MediaError)(uri, cause)


def file_name(uri: str) -> str:
    """The last part of a path or URI, without the query: a presigned URL's query is a secret."""
    return last_name(uri)


def without_query(uri: str) -> str:
    """The path or URI, without the query and without a name and a password: it names the file and opens nothing."""
    public = shown(uri)
    return public.partition("?")[0] if "://" in public else public


class AnalyzerFault(RuntimeError):
    """An analyzer does not keep its contract; the message names it and says what is wrong."""

    def __init__(self, analyzer: str, fault: str) -> None:
        super().__init__(analyzer, fault)
        self.analyzer, self.fault = analyzer, fault

    def __str__(self) -> str:
        return f"analyzer {self.analyzer!r}: {self.fault}"
