"""Dumps of the database to object storage and back: `python -m cluster.storage.backup upload|download FILE`.

The dump is pg_dump's; here it gets a name by its time, a checksum, and an end when newer ones have come. Where to:
AIMA_BACKUP_URI (s3://bucket/prefix); keys and endpoint by the variables that boto3 knows (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3).
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_CHECKSUM = "sha256"
_NAME = "aima-%Y%m%dT%H%M%SZ.dump"


class BackupError(RuntimeError):
    """A dump could not be stored or fetched; the message names what and the way out."""


class Backups:
    """The dumps under one s3://bucket/prefix. `client` is boto3's S3 client."""

    def __init__(self, uri: str, client: Any) -> None:
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.netloc:
            raise BackupError(f"AIMA_BACKUP_URI = {uri!r}: expected s3://bucket/prefix")
        self._bucket, self._prefix, self._s3 = parts.netloc, parts.path.strip("/"), client

    def upload(self, dump: Path, keep: int) -> str:
        """Store a dump under the time it was made, then remove all but the newest `keep`. Returns its name."""
        if not dump.is_file() or dump.stat().st_size == 0:
            raise BackupError(f"{dump} is missing or empty: nothing was stored, and no older dump was removed")
        name = datetime.fromtimestamp(dump.stat().st_mtime, UTC).strftime(_NAME)
        metadata = {"Metadata": {_CHECKSUM: _checksum(dump)}}
        self._s3.upload_file(str(dump), self._bucket, self._key(name), ExtraArgs=metadata)
        stored = self._s3.head_object(Bucket=self._bucket, Key=self._key(name))["ContentLength"]
        if stored != dump.stat().st_size:
            raise BackupError(f"{name}: {stored} of {dump.stat().st_size} bytes were stored; older dumps were kept")
        for old in self.names()[:-keep]:
            self._s3.delete_object(Bucket=self._bucket, Key=self._key(old))
        return name

    def download(self, target: Path, name: str | None = None) -> str:
        """Fetch a dump, by default the newest, and check it. Returns its name."""
        names = self.names()
        if name is None and names:
            name = names[-1]
        if name is None or name not in names:
            raise BackupError(f"there is no dump {name or ''} in {self._bucket}/{self._prefix}; there are: {names}")
        self._s3.download_file(self._bucket, self._key(name), str(target))
        expected = self._s3.head_object(Bucket=self._bucket, Key=self._key(name))["Metadata"].get(_CHECKSUM)
        if _checksum(target) != expected:
            target.unlink()
            raise BackupError(f"{name} is not what was stored: its checksum differs; take an older one (--name)")
        return name

    def names(self) -> list[str]:
        """All dumps, oldest first."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._key("aima-"))
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return sorted(key.rsplit("/", 1)[-1] for key in keys)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


def main(arguments: Sequence[str] | None = None) -> None:
    """Do it, and say which dump it was; exit code 1 with one readable line when it failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("upload", "download"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--keep", type=int, default=14, help="how many dumps stay (upload)")
    parser.add_argument("--name", help="which dump, instead of the newest (download)")
    options = parser.parse_args(arguments)
    try:
        backups = Backups(os.environ.get("AIMA_BACKUP_URI", ""), boto3.client("s3"))
        if options.action == "upload":
            name = backups.upload(options.file, max(1, options.keep))
        else:
            name = backups.download(options.file, options.name)
    except (BackupError, BotoCoreError, ClientError, OSError) as error:
        sys.exit(f"cluster.storage.backup: {error}")
    print(f"{options.action}: {name}")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _CHECKSUM).hexdigest()


if __name__ == "__main__":
    main()
