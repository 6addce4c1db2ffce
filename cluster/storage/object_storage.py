"""Where uploads and results lie: a local directory, or S3 (and whatever speaks it), by one URL.

s3://bucket/prefix?endpoint_url=https://s3.example.org&region=eu: the parameters are optional; credentials come from
where boto3 looks for them, and stay here. `public_endpoint_url` is the same server as workers and browsers reach it,
where the head has another way.
"""

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from pipelines.files import write_atomically
from pipelines.media.addresses import trusted
from serve_apps.results.objects import Objects

_PRESIGNED_S = 3600


def open_storage(uri: str) -> Objects:
    """The storage of a URI. Raises ValueError for one that we cannot use."""
    if uri.startswith("s3://"):
        return S3Objects(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise ValueError(f"storage_uri = {uri!r}: give a path, file:// or s3://bucket/prefix")
    return LocalObjects(uri.removeprefix("file://"))


class LocalObjects:
    """Objects as files below a directory. What is written is on the disk when the call returns."""

    def __init__(self, directory: str) -> None:
        self.base_uri = directory.rstrip("/")

    def begin(self, uri: str) -> str | None:
        """See Objects."""
        self._path(uri).parent.mkdir(parents=True, exist_ok=True)
        return None

    def part_url(self, uri: str, multipart_id: str | None, number: int) -> str | None:
        """See Objects."""
        return None

    def put_part(self, uri: str, multipart_id: str | None, number: int, data: IO[bytes]) -> None:
        """See Objects."""
        _write(self._part(uri, number), data)

    def parts(self, uri: str, multipart_id: str | None) -> Mapping[int, int]:
        """See Objects."""
        return {int(path.suffix[1:]): path.stat().st_size for path in self._parts(uri)}

    def finish(self, uri: str, multipart_id: str | None) -> None:
        """See Objects."""
        parts, target = self._parts(uri), self._path(uri)
        if not parts:
            return  # it was finished before
        if len(parts) > 1:
            with parts[0].open("ab") as whole:
                for part in parts[1:]:
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, whole, 1 << 20)
                whole.flush()
                os.fsync(whole.fileno())
        os.replace(parts[0], target)
        for part in parts[1:]:
            part.unlink()

    def write(self, uri: str, data: bytes) -> None:
        """See Objects."""
        self.begin(uri)
        _write(self._path(uri), io.BytesIO(data))

    def head(self, uri: str, size: int) -> bytes:
        """See Objects."""
        with self._path(uri).open("rb") as file:
            return file.read(size)

    def read(self, uri: str) -> bytes:
        """See Objects."""
        return self._path(uri).read_bytes()

    def readable(self, uri: str) -> str:
        """See Objects."""
        return trusted(_presigned_get(_default_client(), uri)) if uri.startswith("s3://") else uri

    def writable(self, uri: str, content_type: str) -> str | None:
        """See Objects."""
        return None

    def has_come(self, uri: str) -> bool:
        """See Objects."""
        return self._path(uri).is_file()

    def erase(self, uri: str) -> None:
        """See Objects."""
        path = self._path(uri)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _path(self, uri: str) -> Path:
        path = Path(uri.removeprefix("file://"))
        if ".." in path.parts or not path.is_relative_to(self.base_uri):
            raise ValueError(f"{uri} does not lie in {self.base_uri}")
        return path

    def _part(self, uri: str, number: int) -> Path:
        return self._path(uri).with_suffix(f".{number:05d}")

    def _parts(self, uri: str) -> list[Path]:
        return sorted(p for p in self._path(uri).parent.glob("content.*") if p.suffix[1:].isdecimal())


def _write(path: Path, data: IO[bytes]) -> None:
    """Write a file as a whole, and to the disk, or not at all."""
    write_atomically(path, iter(lambda: data.read(1 << 20), b""), mode=0o600)


class S3Objects:
    """Objects in a bucket. Workers and browsers get presigned URLs that end after an hour, never credentials."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self._bucket = parts.netloc
        self._query = f"?{parts.query}" if parts.query else ""
        self.base_uri = f"s3://{parts.netloc}{parts.path.rstrip('/')}"
        endpoint, region = options.get("endpoint_url"), options.get("region")
        self._client = _client(endpoint, region)
        public = options.get("public_endpoint_url")
        self._signer = self._client if public is None else _client(public, region)

    def begin(self, uri: str) -> str | None:
        """See Objects."""
        made = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key(uri))
        return str(made["UploadId"])

    def part_url(self, uri: str, multipart_id: str | None, number: int) -> str | None:
        """See Objects."""
        named = {**self._at(uri), "UploadId": multipart_id, "PartNumber": number}
        return str(self._signer.generate_presigned_url("upload_part", Params=named, ExpiresIn=_PRESIGNED_S))

    def put_part(self, uri: str, multipart_id: str | None, number: int, data: IO[bytes]) -> None:
        """See Objects."""
        self._client.upload_part(**self._at(uri), UploadId=multipart_id, PartNumber=number, Body=data)

    def parts(self, uri: str, multipart_id: str | None) -> Mapping[int, int]:
        """See Objects."""
        return {part["PartNumber"]: part["Size"] for part in self._listed(uri, multipart_id)}

    def finish(self, uri: str, multipart_id: str | None) -> None:
        """See Objects."""
        found = [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in self._listed(uri, multipart_id)]
        if found:  # else it was finished before
            named = {**self._at(uri), "UploadId": multipart_id}
            self._client.complete_multipart_upload(**named, MultipartUpload={"Parts": found})

    def write(self, uri: str, data: bytes) -> None:
        """See Objects."""
        self._client.put_object(**self._at(uri), Body=data)

    def head(self, uri: str, size: int) -> bytes:
        """See Objects."""
        return self._get(uri, Range=f"bytes=0-{size - 1}")

    def read(self, uri: str) -> bytes:
        """See Objects."""
        return self._get(uri)

    def readable(self, uri: str) -> str:
        """See Objects."""
        return trusted(_presigned_get(self._signer, uri)) if uri.startswith("s3://") else uri

    def writable(self, uri: str, content_type: str) -> str | None:
        """See Objects."""
        named = {**self._at(uri), "ContentType": content_type}
        return str(self._signer.generate_presigned_url("put_object", Params=named, ExpiresIn=_PRESIGNED_S))

    def has_come(self, uri: str) -> bool:
        """See Objects. There is one bucket, and it has confirmed the write."""
        return True

    def erase(self, uri: str) -> None:
        """See Objects."""
        key = self._key(uri)
        open_ones = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=key)
        for page in open_ones:
            for found in page.get("Uploads", ()):
                named = {"Bucket": self._bucket, "Key": found["Key"], "UploadId": found["UploadId"]}
                self._client.abort_multipart_upload(**named)
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=key):
            objects = [{"Key": found["Key"]} for found in page.get("Contents", ()) if _is_below(found["Key"], key)]
            if objects:
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})

    def _get(self, uri: str, **more: str) -> bytes:
        try:
            return bytes(self._client.get_object(**self._at(uri), **more)["Body"].read())
        except self._client.exceptions.NoSuchKey:
            raise FileNotFoundError(uri) from None

    def _listed(self, uri: str, multipart_id: str | None) -> Iterator[Any]:
        pages = self._client.get_paginator("list_parts").paginate(**self._at(uri), UploadId=multipart_id)
        try:
            for page in pages:
                yield from page.get("Parts", ())
        except self._client.exceptions.NoSuchUpload:
            return

    def _at(self, uri: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._key(uri)}

    def _key(self, uri: str) -> str:
        if not uri.startswith(f"{self.base_uri}/"):
            raise ValueError(f"{uri} does not lie in {self.base_uri}")
        return uri.removeprefix(f"s3://{self._bucket}/").partition("?")[0]


def _client(endpoint_url: str | None, region: str | None) -> Any:
    import boto3  # noqa: PLC0415 - a second and 20 MiB that a local storage does not need
    from botocore.config import Config  # noqa: PLC0415

    tries = {"mode": "standard", "max_attempts": 5}
    config = Config(signature_version="s3v4", retries=tries)
    return boto3.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)


@cache
def _default_client() -> Any:
    """For media in object stores that are not the service's own storage."""
    return _client(None, None)


def _presigned_get(client: Any, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("?")[0].partition("/")
    named = {"Bucket": bucket, "Key": key}
    return str(client.generate_presigned_url("get_object", Params=named, ExpiresIn=_PRESIGNED_S))


def _is_below(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}/")
