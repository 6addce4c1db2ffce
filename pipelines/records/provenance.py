"""Where a part comes from, as its metadata says it: enough to know whether it would be made the same again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from pipelines.errors import file_name, without_query
from pipelines.media.sampling import Segment


@dataclass(frozen=True)
class PartOrigin:
    """All that the records of one part depend on."""

    media_uri: str
    segment: Segment
    analyzer: str
    version: str
    options: Mapping[str, Any]
    sampling: str = ""

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that change when the records may. A URL's query (a signature) does not count."""
        media = without_query(self.media_uri)
        said = [media, self.segment.to_dict(), self.analyzer, self.version, dict(self.options), self.sampling]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def metadata(self, frames: int, decoder: str, finished: bool) -> dict[str, str]:
        """The part's metadata, beside analyzer, version and units. Only with `finished` does it count as done."""
        said = {
            "software": f"aima {_own_version()}",
            "media": file_name(self.media_uri),
            "segment": json.dumps(self.segment.to_dict()),
            "options": json.dumps(dict(self.options), sort_keys=True),
            "sampling": self.sampling,
            "frames": str(frames),
            "decoder": decoder,
        }
        return said | ({"task": self.digest} if finished else {})


@cache  # reading it takes as long as writing a small part
def _own_version() -> str:
    return version("aima-media")
