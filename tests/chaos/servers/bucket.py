"""Storage of one's own in S3: a bucket whose server looks at signatures."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.guarded_s3 import REGION, Guard, guarded_s3


@dataclass(frozen=True)
class Bucket:
    """`storage_uri` and `media_uri` are for the settings; what goes wrong is said to the `guard`."""

    name: str
    guard: Guard
    storage_uri: str
    client: Any

    @property
    def media_uri(self) -> str:
        """Where clips lie."""
        return f"s3://{self.name}/media"

    def keep(self, clip: Path) -> str:
        """Put it there; its URI."""
        self.client.upload_file(str(clip), self.name, f"media/{clip.name}")
        return f"{self.media_uri}/{clip.name}"


@contextlib.contextmanager
def running() -> Iterator[Bucket]:
    """One until the block ends. Its credentials are in this process's environment meanwhile."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, guarded_s3(patch) as (url, guard, client, name):
        yield Bucket(name, guard, f"s3://{name}/aima?endpoint_url={url}&region={REGION}", client)
