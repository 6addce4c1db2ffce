"""What can go wrong with media, as two errors.

Exception
├── MediaError        a file cannot be read, or not to its end
└── UnknownAnalyzer   (a ValueError) no analyzer has that name
"""

from collections.abc import Iterable
from urllib.parse import urlsplit


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


class UnknownAnalyzer(ValueError):
    """No analyzer has this name; the message lists the names that exist."""

    def __init__(self, name: str, allowed: Iterable[str]) -> None:
        self.name = name
        self.allowed = tuple(allowed)
        super().__init__(name, self.allowed)

    def __str__(self) -> str:
        return f"unknown analyzer {self.name!r}; choose from: {', '.join(self.allowed)}"


def file_name(uri: str) -> str:
    """The last part of a path or URI, without the query: a presigned URL's query is a secret."""
    path = urlsplit(uri).path if "://" in uri else uri
    return path.rstrip("/").rpartition("/")[2] or path or uri.partition("?")[0]
