"""Uploads: files that clients bring, in one go or in parts that can be sent again after a cut."""

import math
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any

from sqlalchemy import Engine, delete, select, update

from pipelines.media.media_types import sniff
from serve_apps.results.objects import Objects
from serve_apps.store.tables import reading, uploads, writing

_u = uploads.c
_MOST_PARTS = 10_000  # S3's limit
_HEAD_BYTES = 4096
_IN_MEMORY_BYTES = 1 << 20
ABANDONED_AFTER_S = 24 * 3600.0


class UploadState(StrEnum):
    """An upload is open until it is completed; what is refused or abandoned is removed."""

    OPEN = "open"
    COMPLETE = "complete"


class UploadRefused(ValueError):
    """The upload cannot go on; the message says why and the way out."""


@dataclass(frozen=True)
class Upload:
    """One upload. `media_type` is what its first bytes say, known once it is complete."""

    id: str
    created_at: float
    name: str
    size_bytes: int
    part_size_bytes: int
    media_type: str | None
    state: UploadState
    uri: str
    multipart_id: str | None
    key_id: str | None

    @property
    def parts_total(self) -> int:
        """How many parts it has."""
        return max(1, math.ceil(self.size_bytes / self.part_size_bytes))

    def size_of(self, number: int) -> int:
        """The size of a part (numbers start at 1), in bytes. Raises UploadRefused."""
        if not 1 <= number <= self.parts_total:
            raise UploadRefused(f"there is no part {number}: its parts are 1 to {self.parts_total}")
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)


class Uploads:
    """Uploads in the database and the storage. Every call may wait for either."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        objects: Objects,
        max_bytes: int = 50 << 30,
        part_bytes: int = 16 << 20,
    ) -> None:
        self._engine, self._clock, self._objects = engine, clock, objects
        self.max_bytes, self._part_bytes = max_bytes, part_bytes

    def begin(self, name: str, size_bytes: int, key_id: str | None) -> Upload:
        """A new upload of exactly this size. Raises UploadRefused."""
        if size_bytes > self.max_bytes:
            raise UploadRefused(f"{size_bytes} bytes are too many: at most {self.max_bytes}; give a URL instead")
        upload_id = f"up_{secrets.token_hex(8)}"
        uri = f"{self._objects.base_uri}/uploads/{upload_id}/content"
        row = {
            "id": upload_id,
            "created_at": self._clock(),
            "name": name,
            "size_bytes": size_bytes,
            "part_size_bytes": max(self._part_bytes, math.ceil(size_bytes / _MOST_PARTS)),
            "state": UploadState.OPEN.value,
            "uri": uri,
            "multipart_id": self._objects.begin(uri),
            "key_id": key_id,
        }
        with writing(self._engine) as connection:
            connection.execute(uploads.insert().values(row))
            return _as_upload(connection.execute(select(uploads).where(_u.id == upload_id)).one())

    def store(self, name: str, size_bytes: int, key_id: str | None, data: IO[bytes]) -> Upload:
        """A whole file at once: its parts are read from `data` one after the other. Raises UploadRefused."""
        upload = self.begin(name, size_bytes, key_id)
        for number in range(1, upload.parts_total + 1):
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as part:
                _copy(data, part, upload.size_of(number))
                self.put_part(upload, number, part)
        return self.complete(upload)

    def get(self, upload_id: str) -> Upload | None:
        """The upload, or None."""
        with reading(self._engine) as connection:
            row = connection.execute(select(uploads).where(_u.id == upload_id)).one_or_none()
        return None if row is None else _as_upload(row)

    def parts(self, upload: Upload) -> Mapping[int, int]:
        """The sizes, in bytes, of the parts that have come, by number; none once it is complete."""
        return {} if upload.state is UploadState.COMPLETE else self._objects.parts(upload.uri, upload.multipart_id)

    def part_url(self, upload: Upload, number: int) -> str | None:
        """Where the client may PUT a part itself; None: only through us."""
        return self._objects.part_url(upload.uri, upload.multipart_id, number)

    def put_part(self, upload: Upload, number: int, data: IO[bytes]) -> None:
        """Take a part. Raises UploadRefused when it has not its size, or the upload is complete."""
        if upload.state is UploadState.COMPLETE:
            raise UploadRefused("it is complete: begin a new one")
        expected = upload.size_of(number)
        size = data.seek(0, 2)
        data.seek(0)
        if size != expected:
            raise UploadRefused(f"part {number} has {size} bytes, not {expected}: send all of it again")
        self._objects.put_part(upload.uri, upload.multipart_id, number, data)

    def complete(self, upload: Upload) -> Upload:
        """Make one file of the parts and look what it is. Raises UploadRefused; what is no media is removed."""
        if upload.state is UploadState.COMPLETE:
            return upload
        there = self._objects.parts(upload.uri, upload.multipart_id)
        if there or not self._is_whole(upload):  # a crash after the last step of an earlier call left a whole file
            self._check(upload, there)
            self._objects.finish(upload.uri, upload.multipart_id)
        media_type = sniff(self._objects.head(upload.uri, _HEAD_BYTES))
        if media_type is None:
            self.erase(upload)
            raise UploadRefused("its first bytes are of no video, audio or image format: it has been removed")
        done = {"state": UploadState.COMPLETE.value, "media_type": media_type}
        with writing(self._engine) as connection:
            connection.execute(update(uploads).where(_u.id == upload.id).values(done))
            return _as_upload(connection.execute(select(uploads).where(_u.id == upload.id)).one())

    def _check(self, upload: Upload, there: Mapping[int, int]) -> None:
        total = range(1, upload.parts_total + 1)
        if missing := [n for n in total if there.get(n) != upload.size_of(n)]:
            raise UploadRefused(f"parts are missing or cut: {', '.join(map(str, missing[:20]))}; send them again")

    def _is_whole(self, upload: Upload) -> bool:
        try:
            return bool(self._objects.head(upload.uri, 1))
        except FileNotFoundError:
            return False

    def erase(self, upload: Upload) -> None:
        """Remove it for good. Harmless to repeat."""
        self._objects.erase(upload.uri.rpartition("/")[0])
        with writing(self._engine) as connection:
            connection.execute(delete(uploads).where(_u.id == upload.id))

    def by_uri(self, uri: str) -> Upload | None:
        """The upload that lies there, or None."""
        with reading(self._engine) as connection:
            row = connection.execute(select(uploads).where(_u.uri == uri)).one_or_none()
        return None if row is None else _as_upload(row)

    def abandoned(self, limit: int = 100) -> list[Upload]:
        """Uploads that were begun a day ago and never completed."""
        old = _u.created_at <= self._clock() - ABANDONED_AFTER_S
        rows = select(uploads).where(_u.state == UploadState.OPEN.value, old).limit(limit)
        with reading(self._engine) as connection:
            return [_as_upload(row) for row in connection.execute(rows)]


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size > 0 and (chunk := source.read(min(size, _IN_MEMORY_BYTES))):
        target.write(chunk)
        size -= len(chunk)


def _as_upload(row: Any) -> Upload:
    return Upload(**dict(row._mapping) | {"state": UploadState(row.state)})
