"""What is analysed: short real clips, some of them damaged."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.media.sample_video import sample_video
from tests.support.samples import media


@dataclass(frozen=True)
class Task:
    """One request: a clip and what it is analysed for."""

    name: str
    media_uri: str
    analyzers: tuple[str, ...]


def tasks(folder: Path, uri: Callable[[Path], str]) -> list[Task]:
    """Every kind of request: clips made in `folder`, by the `uri` of each. Two of them cannot succeed, and say why."""
    folder.mkdir(parents=True, exist_ok=True)
    sample = uri(sample_video())
    return [
        Task("the sample's labels", sample, ("labels",)),
        Task("the sample's cuts and brightness", sample, ("scenes", "brightness")),
        Task("a WebM's brightness", uri(media.build("vp9-webm", folder).path), ("brightness",)),
        Task("a transport stream's labels", uri(media.build("h264-ts", folder).path), ("labels",)),
        Task("the labels of what broke off", uri(media.cut_off(folder)), ("labels",)),
        Task("the labels of a text", uri(media.not_media(folder)), ("labels",)),
    ]
