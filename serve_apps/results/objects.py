"""Where uploads and results lie, as the service sees it.

A local directory and S3 implement it: cluster/storage/object_storage.py.
"""

from collections.abc import Mapping
from typing import IO, Protocol


class Objects(Protocol):
    """One storage. A URI is `base_uri`, a slash and a name; every call may wait for disk or network."""

    base_uri: str

    def begin(self, uri: str) -> str | None:
        """Start an object that is written in parts; an id that the other calls about it need, if any."""
        ...

    def part_url(self, uri: str, multipart_id: str | None, number: int) -> str | None:
        """Where a client may PUT a part itself (for an hour); None: only through us."""
        ...

    def put_part(self, uri: str, multipart_id: str | None, number: int, data: IO[bytes]) -> None:
        """Write a part (numbers start at 1); again: over the same. Appears at once or not at all."""
        ...

    def parts(self, uri: str, multipart_id: str | None) -> Mapping[int, int]:
        """The sizes, in bytes, of the parts that are there."""
        ...

    def finish(self, uri: str, multipart_id: str | None) -> None:
        """Make one object of the parts, in the order of their numbers. Harmless to repeat."""
        ...

    def write(self, uri: str, data: bytes) -> None:
        """Write a small object as a whole or not at all; again: over the same."""
        ...

    def head(self, uri: str, size: int) -> bytes:
        """The first bytes of an object, at most `size`. Raises FileNotFoundError."""
        ...

    def read(self, uri: str) -> bytes:
        """A whole object. Raises FileNotFoundError."""
        ...

    def readable(self, uri: str) -> str:
        """What a worker can open without credentials: the URI itself, or a presigned URL that ends by itself.

        Objects of other buckets too: whoever lets users name them (media.storage) lends the service's access.
        """
        ...

    def writable(self, uri: str, content_type: str) -> str | None:
        """Where a worker may PUT just this object, of this type, without credentials; None: it writes to the URI."""
        ...

    def has_come(self, uri: str) -> bool:
        """Whether what a worker says it has written is here: a worker elsewhere writes to another disk."""
        ...

    def erase(self, uri: str) -> None:
        """Remove the object, its parts, and everything below it, for good. Harmless to repeat."""
        ...
