"""Storage of one's own in S3: a bucket whose server looks at signatures."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.guarded_s3 import REGION, Guard, guarded_s3


@dataclass(frozen=True)
class Bucket:
    """`storage_uri` is for the settings; what goes wrong is said to the `guard`."""

    name: str
    guard: Guard
    storage_uri: str
    client: Any

    def keep(self, file: Path) -> str:
        """Put a file there; its URI."""
        self.client.upload_file(str(file), self.name, f"media/{file.name}")
        return f"s3://{self.name}/media/{file.name}"


@contextlib.contextmanager
def running() -> Iterator[Bucket]:
    """One until the block ends. Its credentials are in this process's environment meanwhile."""
    with pytest.MonkeyPatch.context() as patch, guarded_s3(patch) as (url, guard, client, name):
        yield Bucket(name, guard, f"s3://{name}/aima?endpoint_url={url}&region={REGION}", client)
